import Addresses
import CLinux
import Glibc
import LoadBalancing

/// A request and its outcome.
struct RequestRecord: Sendable {
    enum Outcome: String, Sendable, Encodable {
        case answered
        case refused
        case reset
        case timedOut = "timed out"
        case wrong = "wrong answer"
        case unsent = "not sent"
    }

    /// The time at which the request was due, in nanoseconds of the monotonic clock. It may have been sent later.
    var due: UInt64
    var ended: UInt64 = 0
    var outcome: Outcome = .timedOut
    /// The time at which the handshake was complete; 0: it was never complete.
    var connected: UInt64 = 0
    /// The client's port.
    var port: UInt16 = 0
    var server = ""

    var isAnswered: Bool { outcome == .answered }
    var seconds: Double { Double(ended - due) / 1e9 }
}

/// A client that sends requests at fixed times, without waiting for earlier answers (an open loop). Each request is an
/// HTTP exchange on a TCP connection of its own. The generator belongs to one thread.
final class LoadGenerator {
    private struct Conversation {
        var index: Int
        var received: [UInt8] = []
    }

    static let timeout: UInt64 = 5_000_000_000
    private static let question = Array("GET / HTTP/1.0\r\nHost: vip\r\n\r\n".utf8)

    private let destination: UInt32
    private let port: UInt16
    private let interval: UInt64
    private let epoll: Int32
    private var requests: [RequestRecord] = []
    private var conversations: [Int32: Conversation] = [:]
    /// All connections in the order of their time-outs. The ones before `firstPending` have ended or timed out.
    private var pending: [(descriptor: Int32, index: Int)] = []
    private var firstPending = 0

    init(vip: IPv4Address, port: UInt16, rate: Int) throws {
        destination = vip.value.bigEndian
        self.port = port
        interval = 1_000_000_000 / UInt64(rate)
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw Failure("make an epoll: \(errorText())") }
    }

    deinit { close(epoll) }

    /// Sends `count` requests from the time `start` on, and returns when the last one is answered or has timed out.
    func run(count: Int, from start: UInt64) -> [RequestRecord] {
        requests.reserveCapacity(count)
        var events = [epoll_event](repeating: epoll_event(), count: 256)
        while requests.count < count || !conversations.isEmpty {
            let now = nanoseconds()
            while requests.count < count, start + UInt64(requests.count) * interval <= now {
                begin(due: start + UInt64(requests.count) * interval)
            }
            expire(now)
            let due = requests.count < count ? start + UInt64(requests.count) * interval : now + 100_000_000
            let sleep = due > now ? min((due - now) / 1_000_000 + 1, 100) : 0
            let ready = epoll_wait(epoll, &events, Int32(events.count), Int32(sleep))
            for event in events.prefix(max(0, Int(ready))) { handle(event.data.fd) }
        }
        return requests
    }

    private func begin(due: UInt64) {
        let index = requests.count
        requests.append(RequestRecord(due: due))
        let descriptor = socket(
            AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return finish(index, .unsent) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = destination
        address.sin_port = port.bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) == 0 ? 0 : errno }
        }
        guard code == 0 || code == EINPROGRESS else {
            close(descriptor)
            return finish(index, .unsent)
        }
        requests[index].port = Self.localPort(descriptor)
        conversations[descriptor] = Conversation(index: index)
        pending.append((descriptor, index))
        var event = epoll_event(events: EPOLLOUT.rawValue, data: epoll_data(fd: descriptor))
        epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event)
    }

    private static func localPort(_ descriptor: Int32) -> UInt16 {
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) {
            _ = $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        return UInt16(bigEndian: address.sin_port)
    }

    private func handle(_ descriptor: Int32) {
        guard let conversation = conversations[descriptor] else { return }
        if requests[conversation.index].connected > 0 { read(descriptor) } else { ask(descriptor, conversation.index) }
    }

    private func ask(_ descriptor: Int32, _ index: Int) {
        let code = clinux_socket_error(descriptor)
        if code == 0 { requests[index].connected = nanoseconds() }
        guard code == 0, send(descriptor, Self.question, Self.question.count, Int32(MSG_NOSIGNAL)) > 0 else {
            return end(descriptor, code == 0 ? .reset : Self.outcome(code))
        }
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data(fd: descriptor))
        epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event)
    }

    private func read(_ descriptor: Int32) {
        var bytes = [UInt8](repeating: 0, count: 512)
        while true {
            let count = recv(descriptor, &bytes, bytes.count, 0)
            if count > 0 {
                conversations[descriptor]?.received += bytes.prefix(count)
            } else if count == 0 {
                return judge(descriptor)
            } else if errno == EAGAIN {
                return
            } else if errno != EINTR {
                return end(descriptor, Self.outcome(errno))
            }
        }
    }

    /// Records the outcome of a whole answer.
    private func judge(_ descriptor: Int32) {
        guard let conversation = conversations[descriptor] else { return }
        let name = WebServer.name(in: conversation.received)
        requests[conversation.index].server = name ?? ""
        end(descriptor, name == nil ? .wrong : .answered)
    }

    private static func outcome(_ code: Int32) -> RequestRecord.Outcome {
        switch code {
        case ECONNREFUSED: .refused
        case ETIMEDOUT: .timedOut
        default: .reset
        }
    }

    private func expire(_ now: UInt64) {
        while firstPending < pending.count, requests[pending[firstPending].index].due + Self.timeout <= now {
            let (descriptor, index) = pending[firstPending]
            firstPending += 1
            // The request may have ended, and another connection may have its descriptor now.
            if conversations[descriptor]?.index == index { end(descriptor, .timedOut) }
        }
    }

    private func end(_ descriptor: Int32, _ outcome: RequestRecord.Outcome) {
        guard let conversation = conversations.removeValue(forKey: descriptor) else { return }
        close(descriptor)
        finish(conversation.index, outcome)
    }

    private func finish(_ index: Int, _ outcome: RequestRecord.Outcome) {
        requests[index].outcome = outcome
        requests[index].ended = nanoseconds()
    }
}
