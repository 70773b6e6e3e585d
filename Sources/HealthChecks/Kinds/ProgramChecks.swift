public import Addresses

/// A check that runs a program. Exit code 0 is healthy. If the first line of standard output is a number from 0 to
/// 65535, it is the requested weight. Its stage is run.
///
/// The program runs without a shell, in a process group of its own. Its standard input is /dev/null, and it gets no
/// other descriptor of the daemon. When it ends, or at the deadline, the whole group is killed. The first line of
/// standard error, or else of standard output, is the reason of a failure. The environment consists of the following
/// variables and of `environment`, which takes precedence:
///
/// - `PATH`: /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
/// - `IPVSD_VIA`: tunnel or direct
/// - `IPVSD_ADDRESS`: the address to check, which is the VIP (tunnel) or the real server's own address (direct)
/// - `IPVSD_TIMEOUT`: the seconds until the program is killed
/// - `IPVSD_MARK`, `IPVSD_DEVICE`, `IPVSD_SOURCE` (tunnel only): SO_MARK, the interface index and the local address of
///   a socket whose packets take the tunnel to this real server
public struct ScriptCheck: Hashable, Sendable {
    /// The program's absolute path and its arguments.
    public var arguments: [String]
    public var environment: [String: String]

    public init(arguments: [String], environment: [String: String] = [:]) throws(InvalidCheck) {
        guard let program = arguments.first, program.hasPrefix("/") else {
            throw InvalidCheck("\(arguments) is no command: the first is the program's absolute path")
        }
        let texts = arguments + environment.keys + environment.values
        guard !texts.contains(where: { $0.utf8.contains(0) }),
            !environment.keys.contains(where: { $0.isEmpty || $0.utf8.contains(UInt8(ascii: "=")) })
        else {
            throw InvalidCheck(
                "\(program): no argument or variable has a NUL, no variable's name is empty or has a \"=\"")
        }
        self.arguments = arguments
        self.environment = environment
    }
}

/// A check that reads a weight, from 0 to 65535, from a regular file. Surrounding white space is ignored. The weight 0
/// quiesces the server. A missing file and any other content are failures. Its stage is read, which includes the
/// opening of the file.
public struct FileCheck: Hashable, Sendable {
    public var path: String

    public init(path: String) throws(InvalidCheck) {
        guard path.hasPrefix("/"), !path.utf8.contains(0) else {
            throw InvalidCheck("\"\(path)\" is no absolute path")
        }
        self.path = path
    }
}

extension Check {
    /// Returns the check with the real server's address in place of "{server}" in a file's path or a script's
    /// arguments.
    public func addressed(to server: IPAddress) -> Check {
        switch self {
        case .file(var check):
            check.path = Self.filled(check.path, server)
            return .file(check)
        case .script(var check):
            check.arguments = check.arguments.map { Self.filled($0, server) }
            return .script(check)
        default: return self
        }
    }

    private static func filled(_ text: String, _ server: IPAddress) -> String {
        text.split(separator: "{server}", omittingEmptySubsequences: false).joined(separator: server.description)
    }
}
