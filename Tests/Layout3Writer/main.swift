import BPF
import Glibc
import Layout3

// layout-3-writer DIRECTORY
//
// Makes the data plane that is pinned in a directory of bpffs one of layout 3, on veth interfaces. No daemon runs and no
// packet passes meanwhile.

func end(_ reason: String, code: Int32) -> Never {
    var line = "\(reason)\n"
    _ = line.withUTF8 { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    exit(code)
}

guard CommandLine.arguments.count == 2 else { end("layout-3-writer DIRECTORY", code: 64) }
do {
    _ = try Layout3Plane(replacing: CommandLine.arguments[1], answersByRedirect: true)
} catch { end("layout-3-writer: \(error)", code: 71) }
