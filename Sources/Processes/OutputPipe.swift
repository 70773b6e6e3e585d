internal import CLinux
internal import Glibc
internal import SystemCalls

/// A pipe that a program writes into, and the bytes that were read from it. `deinit` closes the descriptors that are
/// still open.
final class OutputPipe {
    /// The non-blocking read end, or -1 if the output goes to /dev/null.
    let read: Int32
    /// The write end, or -1 once it is closed. If the output is discarded, a descriptor of /dev/null.
    private(set) var write: Int32
    private let limit: Int
    private let receive: (ArraySlice<UInt8>) -> Void
    /// The first `limit` bytes of the output.
    private(set) var bytes: [UInt8] = []
    /// Whether the output had more bytes than were kept.
    private(set) var isCut = false

    /// Creates one pipe for each of standard output and standard error, or one for both.
    static func make(_ streams: ChildProcess.Streams) throws(SystemError) -> [OutputPipe] {
        switch streams {
        case .discarded: [try OutputPipe()]
        case .kept(let limit): [try OutputPipe(limit: limit), try OutputPipe(limit: limit)]
        case .handed(let receive): [try OutputPipe(limit: 0, receive)]
        }
    }

    private init(limit: Int, _ receive: @escaping (ArraySlice<UInt8>) -> Void = { _ in }) throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        guard clinux_pipe(&ends) == 0 else { throw SystemError("pipe") }
        (read, write) = (ends[0], ends[1])
        self.limit = limit
        self.receive = receive
    }

    private init() throws(SystemError) {
        write = open("/dev/null", O_WRONLY | O_CLOEXEC)
        guard write >= 0 else { throw SystemError("open /dev/null") }
        (read, limit, receive) = (-1, 0, { _ in })
    }

    deinit {
        if read >= 0 { close(read) }
        closeWrite()
    }

    func closeWrite() {
        if write >= 0 { close(write) }
        write = -1
    }

    /// Reads what the pipe holds. Returns false at the end of the stream, and after an error. A call reads at most 64
    /// KiB, so that a flood of output does not delay the notice of the process's end.
    func drain() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 4096)
        for _ in 0..<16 {
            let count = Glibc.read(read, &buffer, buffer.count)
            if count == 0 { return false }
            if count < 0 { return errno == EAGAIN || errno == EINTR }
            receive(buffer[..<count])
            let room = limit - bytes.count
            bytes += buffer.prefix(min(count, room))
            isCut = isCut || count > room
        }
        return true
    }
}
