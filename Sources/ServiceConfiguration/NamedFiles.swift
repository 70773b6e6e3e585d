internal import Glibc

/// The test of programs and files that a configuration names. Without this test, a file that is missing on the director
/// would later take real servers down.
public struct NamedFiles: Sendable {
    /// Returns the reason why a program cannot be executed, or nil if it can.
    package var problemOfProgram: @Sendable (_ path: String) -> String?
    /// Returns the reason why a file cannot be read, or nil if it can.
    var problemOfText: @Sendable (_ path: String) -> String?

    /// The absence of a test: each program and file counts as good.
    public static let unseen = NamedFiles(problemOfProgram: { _ in nil }, problemOfText: { _ in nil })

    /// The test of the machine's files, as root would see them.
    public static let present = NamedFiles(
        problemOfProgram: { path in
            problem(of: path)
                ?? (mode(of: path).map { $0 & 0o111 == 0 } == true ? "not executable" : nil)
        },
        problemOfText: { path in problem(of: path) ?? unreadable(path) })

    func program(_ path: String) throws(InvalidValue) -> String {
        if let problem = problemOfProgram(path) {
            throw InvalidValue("\(path): \(problem)", accepted: "a program that is there and can be executed")
        }
        return path
    }

    func text(_ path: String) throws(InvalidValue) -> String {
        if let problem = problemOfText(path) {
            throw InvalidValue("\(path): \(problem)", accepted: "a file that is there and can be read")
        }
        return path
    }

    private static func mode(of path: String) -> mode_t? {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode : nil
    }

    private static func problem(of path: String) -> String? {
        guard let mode = mode(of: path) else { return isForRootOnly(errno) ? nil : String(cString: strerror(errno)) }
        return mode & S_IFMT == S_IFREG ? nil : "no regular file"
    }

    private static func unreadable(_ path: String) -> String? {
        access(path, R_OK) == 0 || isForRootOnly(errno) ? nil : String(cString: strerror(errno))
    }

    /// Whether `code`, an `errno`, means that only root may see the file. `ipvsd check` also runs without privileges,
    /// and lets such a file pass.
    private static func isForRootOnly(_ code: Int32) -> Bool { code == EACCES && geteuid() != 0 }
}
