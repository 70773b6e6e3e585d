import Glibc
import Synchronization
import SystemCalls

/// Where a capture goes: a file, or standard output. Unbuffered.
final class CaptureSink {
    private let descriptor: Int32
    private let name: String

    /// nil and "-": standard output. A file is made anew, for root's eyes, also where one was there: it holds what clients
    /// send.
    init(path: String?) throws {
        guard let path, path != "-" else {
            (descriptor, name) = (STDOUT_FILENO, "standard output")
            return
        }
        (descriptor, name) = (open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600), path)
        var status = stat()
        guard descriptor >= 0, fstat(descriptor, &status) == 0,
            status.st_mode & S_IFMT != S_IFREG || fchmod(descriptor, 0o600) == 0
        else { throw Failure(.output, "\(SystemError("write \(path)", code: errno))") }
    }

    deinit { if descriptor > STDERR_FILENO { close(descriptor) } }

    /// False: nobody reads any more.
    func write(_ bytes: [UInt8]) throws -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 { rest = rest.dropFirst(count) }
            guard count < 0 else { continue }
            if errno == EPIPE || errno == EINTR && StopSignals.came { return false }
            if errno != EINTR { throw Failure(.output, "\(SystemError("write \(name)", code: errno))") }
        }
        return hasReader
    }

    private var hasReader: Bool {
        var state = pollfd(fd: descriptor, events: 0, revents: 0)
        return poll(&state, 1, 0) <= 0 || Int32(state.revents) & (POLLERR | POLLHUP) == 0
    }
}

/// SIGINT and SIGTERM as wishes. A wait or a write in progress ends at once.
enum StopSignals {
    private static let seen = Atomic<Bool>(false)

    static var came: Bool { seen.load(ordering: .relaxed) }

    static func trap() {
        // The handler shall not be the first who touches it.
        guard !came else { return }
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in StopSignals.seen.store(true, ordering: .relaxed) }
        for number in [SIGINT, SIGTERM, SIGHUP] { sigaction(number, &action, nil) }
        signal(SIGPIPE, SIG_IGN)
    }
}
