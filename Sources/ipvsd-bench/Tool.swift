import Glibc

/// Programs of others that set things up, where that is not what is measured.
enum Tool {
    /// Runs a shell script; throws unless every command of it succeeds.
    static func run(_ script: String) throws {
        let words: [String] = ["sh", "-ec", script]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        arguments.append(nil)
        defer { for argument in arguments { free(argument) } }
        var child: pid_t = 0
        let code = posix_spawn(&child, "/bin/sh", nil, nil, &arguments, environ)
        guard code == 0 else { throw Failure("start /bin/sh: \(String(cString: strerror(code)))") }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 && errno == EINTR {}
        guard status == 0 else { throw Failure("a command of this script failed:\n\(script)") }
    }
}
