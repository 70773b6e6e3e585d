import ArgumentParser
import CLinux
import Glibc

/// `ipvsd-bench serve`: the web server of a real server in `failover`, in a process that can be killed.
struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "A small web server, as of the other benchmarks.", shouldDisplay: false)

    @Option(help: "The name in its answers.")
    var name: String

    @Option(help: "Its TCP port, on all addresses.")
    var port: UInt16 = 80

    func run() throws { try WebServer(name: name, port: port).run() }
}

/// A web server with a name. It answers "GET /stream" with its name and an endless stream of numbers. Any other request
/// gets an answer with the name alone.
final class WebServer {
    private struct Stream {
        var sent = 0
    }

    private static let pieceSize = 64 << 10
    private let answer: [UInt8]
    private let head: [UInt8]
    private let listener: Int32
    private let epoll: Int32
    /// The streams of all connections by their descriptors. A stream is nil while the request has not come yet.
    private var connections: [Int32: Stream?] = [:]

    init(name: String, port: UInt16) throws {
        answer = Array("HTTP/1.0 200 OK\r\nX-Server: \(name)\r\nContent-Length: 0\r\n\r\n".utf8)
        head = Array("HTTP/1.0 200 OK\r\nX-Server: \(name)\r\n\r\n".utf8)
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        listener = try Self.listen(port: port)
        watch(listener, EPOLLIN.rawValue, EPOLL_CTL_ADD)
    }

    /// Returns a non-blocking socket that listens on the port at all addresses.
    static func listen(port: UInt16) throws -> Int32 {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var yes: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, size) == 0 }
        }
        guard listener >= 0, isBound, Glibc.listen(listener, 4096) == 0 else {
            throw Failure("listen on port \(port): \(errorText())")
        }
        return listener
    }

    /// Returns the name of the server that sent `answer`; nil where that is not a whole answer.
    static func name(in answer: [UInt8]) -> String? {
        let text = String(decoding: answer, as: UTF8.self)
        guard text.hasPrefix("HTTP/1.0 200 OK\r\nX-Server: "), text.hasSuffix("\r\n\r\n") else { return nil }
        return text.split(separator: "\r\n").dropFirst().first.map { String($0.dropFirst("X-Server: ".count)) }
    }

    /// Returns a byte of the stream: the numbers 0, 1, 2, ... of 8 bytes each, the lowest byte first.
    static func byte(at offset: Int) -> UInt8 { UInt8(truncatingIfNeeded: (offset / 8) >> (8 * (offset % 8))) }

    func run() throws -> Never {
        var events = [epoll_event](repeating: epoll_event(), count: 256)
        while true {
            let count = epoll_wait(epoll, &events, Int32(events.count), -1)
            for event in events.prefix(max(0, Int(count))) {
                let descriptor = event.data.fd
                if descriptor == listener {
                    accept()
                } else if case .some(.some) = connections[descriptor] {
                    stream(descriptor)
                } else {
                    read(descriptor)
                }
            }
        }
    }

    private func watch(_ descriptor: Int32, _ events: UInt32, _ operation: Int32) {
        var event = epoll_event(events: events, data: epoll_data(fd: descriptor))
        epoll_ctl(epoll, operation, descriptor, &event)
    }

    private func accept() {
        while true {
            let descriptor = clinux_accept(listener)
            guard descriptor >= 0 else { return }
            connections[descriptor] = .some(nil)
            watch(descriptor, EPOLLIN.rawValue, EPOLL_CTL_ADD)
        }
    }

    private func read(_ descriptor: Int32) {
        var request = [UInt8](repeating: 0, count: 512)
        // The clients of the benchmarks send a request in one piece.
        let count = recv(descriptor, &request, request.count, 0)
        guard count > 0 else { return end(descriptor) }
        guard request.starts(with: "GET /stream ".utf8) else {
            send(descriptor, answer, answer.count, Int32(MSG_NOSIGNAL))
            return end(descriptor)
        }
        send(descriptor, head, head.count, Int32(MSG_NOSIGNAL))
        connections[descriptor] = Stream()
        watch(descriptor, EPOLLOUT.rawValue, EPOLL_CTL_MOD)
    }

    private func stream(_ descriptor: Int32) {
        guard case .some(.some(let state)) = connections[descriptor] else { return }
        let piece = (0..<Self.pieceSize).map { Self.byte(at: state.sent + $0) }
        let count = send(descriptor, piece, piece.count, Int32(MSG_NOSIGNAL))
        if count < 0 { return errno == EAGAIN ? () : end(descriptor) }
        connections[descriptor] = Stream(sent: state.sent + count)
    }

    private func end(_ descriptor: Int32) {
        connections[descriptor] = nil
        close(descriptor)
    }
}
