import Addresses
import Glibc
import LoadBalancing
import Synchronization

/// A long and slow download, whose report shows whether anything disturbed it. `run` has to be on a thread of its own.
final class Download: Sendable {
    struct Report: Sendable {
        var server = ""
        var bytes = 0
        /// The reason why the download ended before `stop`; nil: nothing ended it early.
        var fault: String?
    }

    /// The number of seconds without data from which on the download is at fault.
    static let patience = 3

    private let isOver = Atomic(false)
    private let state = Mutex(Report())

    var report: Report { state.withLock { $0 } }

    func stop() { isOver.store(true, ordering: .relaxed) }

    func run(vip: IPv4Address, port: UInt16) {
        let fault = follow(vip: vip, port: port)
        state.withLock { $0.fault = fault }
    }

    private func follow(vip: IPv4Address, port: UInt16) -> String? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var limit = timeval(tv_sec: Self.patience, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = vip.value.bigEndian
        address.sin_port = port.bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isConnected = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) == 0 }
        }
        let question = Array("GET /stream HTTP/1.0\r\nHost: vip\r\n\r\n".utf8)
        guard isConnected, send(descriptor, question, question.count, Int32(MSG_NOSIGNAL)) > 0 else {
            return "connect: \(errorText())"
        }
        return read(descriptor)
    }

    private func read(_ descriptor: Int32) -> String? {
        var head: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16 << 10)
        var offset = 0
        while !isOver.load(ordering: .relaxed) {
            let count = recv(descriptor, &piece, piece.count, 0)
            guard count > 0 else {
                return count == 0
                    ? "the server closed it" : errno == EAGAIN ? "no data for \(Self.patience) s" : errorText()
            }
            var body = piece[..<count]
            if offset == 0, state.withLock({ $0.server.isEmpty }) {
                head += body
                guard let end = Self.endOfHead(head) else { continue }
                guard let name = WebServer.name(in: Array(head[..<end])) else { return "no stream" }
                state.withLock { $0.server = name }
                body = head[end...]
            }
            for byte in body {
                guard byte == WebServer.byte(at: offset) else { return "a wrong byte at \(offset)" }
                offset += 1
            }
            state.withLock { $0.bytes = offset }
            usleep(20_000)
        }
        return nil
    }

    private static func endOfHead(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        return (4...bytes.count).first { bytes[($0 - 4)..<$0].elementsEqual("\r\n\r\n".utf8) }
    }
}
