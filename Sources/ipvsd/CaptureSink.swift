import Glibc
import Synchronization
import SystemCalls

/// The destination of a capture: a file or standard output, without a buffer.
final class CaptureSink {
    private let descriptor: Int32
    private let name: String

    /// Opens the file; nil and "-" are standard output. The file is emptied, and only its owner may read it, since it
    /// holds clients' data.
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

    /// Writes all bytes. Returns false where the reader has closed its end.
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

/// SIGINT, SIGTERM and SIGHUP as requests to end. A system call in progress ends with EINTR.
enum StopSignals {
    private static let seen = Atomic<Bool>(false)

    static var came: Bool { seen.load(ordering: .relaxed) }

    static func trap() {
        // The first access initializes the static property, which a signal handler must not do.
        guard !came else { return }
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in StopSignals.seen.store(true, ordering: .relaxed) }
        for number in [SIGINT, SIGTERM, SIGHUP] { sigaction(number, &action, nil) }
        signal(SIGPIPE, SIG_IGN)
    }
}
