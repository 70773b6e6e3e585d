internal import Glibc

/// What there is to say against files of the machine's that a configuration names. A daemon that learns of it later would
/// take real servers out for what is the director's own fault.
public struct NamedFiles: Sendable {
    /// Nil: it can be executed.
    package var problemOfProgram: @Sendable (_ path: String) -> String?
    /// Nil: it can be read.
    var problemOfText: @Sendable (_ path: String) -> String?

    /// Nothing is looked at: whoever asks wants to know of the text alone.
    public static let unseen = NamedFiles(problemOfProgram: { _ in nil }, problemOfText: { _ in nil })

    /// As root will find them.
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

    /// `ipvsd check` needs no privilege, and then cannot see all that the director will.
    private static func isForRootOnly(_ code: Int32) -> Bool { code == EACCES && geteuid() != 0 }
}
