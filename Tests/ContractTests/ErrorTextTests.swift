import Glibc
import TestSupport
import Testing

@testable import ipvsd

/// The texts and exit codes of typical mistakes, by the program itself.
struct ErrorTextTests {
    /// A director that cannot start, also where its values are good.
    private static let director = [
        "--vip", "10.0.0.100:80", "--backends", "10.0.0.11", "--interface", "no-such-device",
    ]

    /// Command lines that are refused before any privilege is needed.
    private static let mistakes: [[String]] = [
        // The director
        [], ["--vip"], ["--vip", "10.0.0.300", "--backends", "10.0.0.11"],
        ["--vip", "2001:db8::1", "--backends", "10.0.0.11"], ["--vip", "10.0.0.100:65536", "--backends", "10.0.0.11"],
        ["--vip", "10.0.0.100"], ["--backends", "10.0.0.11"], ["--vip", "10.0.0.100", "--backends", "10.0.0.100"],
        ["--vip", "10.0.0.100", "--backends", "10.0.0.11,10.0.0.11"],
        ["--vip", "10.0.0.100", "--backends", "10.0.0.11=65536"],
        director + ["--no-such-flag"], director + ["--scheduler", "fastest"], director + ["--check", "gopher"],
        director + ["--check-interval", "soon"], director + ["--rise", "0", "--fall", "x"],
        director + ["--persistent-netmask", "24"], director + ["--sched-flags", "sh-port"],
        director + ["--log-format", "xml"],
        director + ["--instance", "a/b"], director + ["extra"], ["statsu"],
        // The configuration file
        ["--config", "no-such-file.yaml"], ["--config", "smallest.yaml", "--vip", "10.0.0.100"],
        ["check"], ["check", "no-such-file.yaml"], ["check", "mistakes.yaml"], ["check", "no-mapping.yaml"],
        // Other commands
        ["status", "--no-such-flag"], ["drain"], ["drain", "10.0.0.11", "--timeout", "soon"], ["drain", "--timeout"],
        ["events", "--last", "many"], ["events", "--last=-1"], ["capture", "--direction", "up"],
        ["capture", "--vip", "10.0.0.100:0"], ["capture", "--reason", "nonsense"], ["capture", "--snaplen", "13"],
        ["import", "no-such-file"], ["import", "--from", "nginx"], ["import", "--fwmark", "0=10.0.0.100:80"],
        ["realserver-setup"], ["realserver-setup", "--vip", "nonsense"],
        ["realserver-setup", "--vip", "10.0.0.100", "--mss", "1"],
        ["realserver-setup", "--vip", "10.0.0.100", "--undo", "--persist"],
        ["realserver-setup", "--vip", "10.0.0.100", "--persist-by", "cron"], ["doctor", "--vip", "nonsense"],
        ["doctor", "--port", "0"], ["tunnel", "add", "t1"],
        ["tunnel", "add", "t1", "--local", "192.0.2.1", "--remote", "192.0.2.1"],
        ["tunnel", "add", "t1", "--local", "192.0.2.1", "--remote", "192.0.2.2", "--ttl", "256"],
        ["tunnel", "add", "tunl0", "--local", "192.0.2.1", "--remote", "192.0.2.2"], ["tunnel", "delete"],
        ["documentation", "novel"],
    ]

    @Test("a mistake has the recorded text and exit code, without privileges")
    func texts() throws {
        try Snapshot.expect(try Self.lines(of: Self.mistakes), in: "errors.txt")
    }

    /// Commands that need a daemon, and root.
    private static let withoutDaemon: [[String]] = [
        ["status"], ["connections"], ["metrics"], ["events"], ["drain", "10.0.0.11"], ["undrain", "10.0.0.11"],
        ["reload"], ["stop"], ["stop", "--keep"], ["capture"], ["explain", "192.0.2.7:41234", "10.0.0.100:80"],
        ["cleanup", "--dry-run"],
    ]

    @Test("without a daemon a command has the recorded text and exit code", .needsRoot)
    func noDaemon() throws {
        let lines = try Self.lines(of: Self.withoutDaemon.map { $0 + ["--instance", "contract-tests"] })
        try Snapshot.expect(lines, in: "errors-without-daemon.txt")
    }

    private static func lines(of commands: [[String]]) throws -> [String] {
        try commands.flatMap { arguments in
            let typed = (["$ ipvsd"] + arguments).joined(separator: " ")
            return [typed] + (try Executable.run(arguments).lines) + [""]
        }
    }
}
