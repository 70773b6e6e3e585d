import Glibc
import Processes

/// Programs of the machine that set up what a benchmark measures.
enum Tool {
    /// Runs a shell script. Throws where one of its commands fails.
    static func run(_ script: String) throws {
        let shell = ChildProcess(["/bin/sh", "-ec", script], streams: .kept(limit: 16384))
        let outcome = try shell.run()
        guard outcome.ending == .exited(0) else {
            let errors = String(decoding: outcome.errors, as: UTF8.self)
            throw Failure("a command of this script failed:\n\(script)\n\(errors)")
        }
    }

    /// Returns the output of a program; empty where it cannot be started.
    static func output(_ words: [String]) -> String {
        let program = ChildProcess(["/usr/bin/env"] + words, streams: .kept(limit: 64 << 20))
        return (try? program.run()).map { String(decoding: $0.output, as: UTF8.self) } ?? ""
    }

    /// Returns the text of a file, such as one of /proc; nil where it cannot be read.
    static func text(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var text: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = read(descriptor, &bytes, bytes.count)
            guard count >= 0 else { return nil }
            guard count > 0 else { return String(decoding: text, as: UTF8.self) }
            text += bytes.prefix(count)
        }
    }

    /// The path of this program.
    static var ownPath: String {
        var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &bytes, bytes.count - 1)
        return String(decoding: bytes.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Returns the absolute path of the program at `path`; `path` nil: of the program `name` in this program's
    /// directory. Throws where there is no executable file.
    static func program(_ path: String?, _ name: String) throws -> String {
        let found = path ?? ownPath.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/\(name)"
        guard let absolute = realpath(found, nil) else { throw Failure("no program at \(found)") }
        defer { free(absolute) }
        guard access(absolute, X_OK) == 0 else { throw Failure("\(found) is no program") }
        return String(cString: absolute)
    }
}
