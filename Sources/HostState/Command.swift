import Glibc
import SystemCalls

/// Another program's standard output, with a time limit.
package enum Command {
    package enum Failure: Error, CustomStringConvertible {
        case missing(String)
        case failed(String)
        package var description: String {
            switch self {
            case .missing(let name): "\(name) is not installed"
            case .failed(let reason): reason
            }
        }
    }

    private static let directories = ["/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/", "/usr/local/sbin/"]
    private static let largestOutput = 64 << 20

    package static func output(_ name: String, _ arguments: [String], seconds: Int32 = 10) throws(Failure) -> String {
        guard let path = directories.lazy.map({ $0 + name }).first(where: File.exists) else { throw .missing(name) }
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw .failed("pipe: \(String(cString: strerror(errno)))") }
        defer { close(ends[0]) }
        var errors: [Int32] = [0, 0]
        guard pipe(&errors) == 0 else {
            close(ends[1])
            throw .failed("pipe: \(String(cString: strerror(errno)))")
        }
        defer { close(errors[0]) }
        for end in ends + errors { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        // It is read when the program has ended: what there is no room for is lost, and keeps nobody waiting.
        for end in errors { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_adddup2(&actions, errors[1], 2)
        var argv = ([path] + arguments).map { strdup($0) } + [nil]
        defer { argv.forEach { free($0) } }
        var process: pid_t = 0
        let code = posix_spawn(&process, path, &actions, nil, &argv, environ)
        close(ends[1])
        close(errors[1])
        guard code == 0 else { throw .failed("\(name): \(String(cString: strerror(code)))") }

        let (bytes, isComplete) = read(ends[0], until: time(nil) + time_t(seconds))
        if !isComplete { kill(process, SIGKILL) }
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0 && errno == EINTR {}
        guard isComplete else { throw .failed("\(name) gave no answer within \(seconds) s") }
        guard status == 0 else {
            let reason = firstLine(of: errors[0])
            throw .failed(
                "\(name) failed (status \(status >> 8 & 0xFF))" + (reason.isEmpty ? "" : ": \(reason)"))
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func firstLine(of descriptor: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 512)
        let count = max(Glibc.read(descriptor, &buffer, buffer.count), 0)
        return String(decoding: buffer.prefix(count).prefix { $0 != 10 }, as: UTF8.self)
    }

    private static func read(_ descriptor: Int32, until deadline: time_t) -> (bytes: [UInt8], isComplete: Bool) {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while bytes.count < largestOutput {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let left = deadline - time(nil)
            guard left > 0, poll(&entry, 1, Int32(left) * 1000) > 0 else { return (bytes, false) }
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count == 0 { return (bytes, true) }
            if count > 0 { bytes += buffer.prefix(count) }
            if count < 0 && errno != EINTR { return (bytes, false) }
        }
        return (bytes, false)
    }
}
