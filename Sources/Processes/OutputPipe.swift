internal import CLinux
internal import Glibc
internal import SystemCalls

/// A pipe that a program writes into, and what was read of it. Closes what it still holds.
final class OutputPipe {
    /// Does not block. -1: what is written goes to /dev/null.
    let read: Int32
    private(set) var write: Int32
    private let limit: Int
    private let receive: (ArraySlice<UInt8>) -> Void
    /// The first `limit` bytes.
    private(set) var bytes: [UInt8] = []
    /// More came than was kept.
    private(set) var isCut = false

    /// One for standard output and one for standard error, or one for both.
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

    /// False at the end of the stream. At most 64 KiB a call, so that a talkative program does not hide another's end.
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
