import Glibc
import Testing

@testable import Control

/// Metrics over TCP, and the limits for unknown clients.
struct MetricsServerTests {
    /// Runs a server whose text has `size` bytes, and calls `body` with its port.
    private func serve(
        size: Int = 100, limits: MetricsServer.Limits = .init(), _ body: (UInt16) async throws -> Void
    ) async throws {
        let text = String(repeating: "m", count: size)
        let server = MetricsServer(address: "127.0.0.1", port: 0, limits: limits) { text }
        let (ports, continuation) = AsyncStream.makeStream(of: Int.self)
        let running = Task { try await server.run { continuation.yield($0) } }
        var iterator = ports.makeAsyncIterator()
        let port = await iterator.next()
        defer { running.cancel() }
        try await body(UInt16(try #require(port)))
        running.cancel()
        try? await running.value
    }

    private func get(_ path: String = "/metrics", method: String = "GET", _ fields: String = "") -> String {
        "\(method) \(path) HTTP/1.1\r\nHost: x\r\n\(fields)\r\n"
    }

    @Test("GET and HEAD of /metrics are answered, and other requests refused")
    func answers() async throws {
        try await serve { port in
            let client = try Client(port)
            try client.send(get())
            var answer = try await client.read { $0.hasSuffix("mmm") }
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(answer.contains("Content-Length: 100\r\n"))
            #expect(answer.contains("Content-Type: text/plain; version=0.0.4"))
            #expect(!answer.contains("Connection: close"))
            // The connection stays; HEAD has no body.
            try client.send(get(method: "HEAD"))
            answer = try await client.read { $0.hasSuffix("\r\n\r\n") }
            #expect(answer.contains(" 200 OK\r\n"))
            #expect(answer.contains("Content-Length: 100\r\n"))
            try client.send(get("/metrics?x=1", "Connection: close\r\n"))
            answer = try await client.readToEnd()
            #expect(answer.contains(" 200 OK\r\n"))
            #expect(answer.hasSuffix("mmm"))
            #expect(answer.contains("Connection: close\r\n"))
            for (request, status) in [
                (get("/"), "404"), (get("/metricsx"), "404"),
                (get(method: "POST", "Content-Length: 3\r\n") + "abc", "405"),
                ("nonsense\r\n\r\n", "400"),
            ] {
                let client = try Client(port)
                try client.send(request)
                let answer = try await client.readToEnd()
                #expect(answer.hasPrefix("HTTP/1.1 \(status) "), "\(request): \(answer)")
            }
        }
    }

    @Test("an address that cannot be listened on is an error that says why and what to do")
    func unbound() async throws {
        func refusal(_ address: String, _ port: Int) async -> String? {
            let server = MetricsServer(address: address, port: port) { nil }
            let error = await #expect(throws: MetricsServer.Unbound.self) { try await server.run() }
            return error?.description
        }
        try await serve { port in
            let taken = await refusal("127.0.0.1", Int(port))
            #expect(
                taken
                    == "port \(port) is in use there ('ss -ltnp sport = :\(port)' says by whom; accepted: one that is free)"
            )
        }
        // TEST-NET-1 of RFC 5737: nobody's.
        let foreign = await refusal("192.0.2.1", 0)
        #expect(foreign?.hasPrefix("192.0.2.1 is no address of this machine (accepted: ") == true)
    }

    @Test("of many requests at once few are answered, one after another")
    func pipelinedRequestsAreBounded() async throws {
        var limits = MetricsServer.Limits()
        limits.answers = 5
        try await serve(limits: limits) { port in
            let client = try Client(port)
            try client.send(String(repeating: get(), count: 400))
            let answer = try await client.readToEnd()
            let answers = answer.components(of: "HTTP/1.1 200 OK")
            #expect((5..<100).contains(answers), "\(answers)")
            #expect(answer.components(of: "HTTP/1.1 429 ") == 1)
        }
    }

    @Test("a connection over the limit is closed, and a closed one makes room")
    func connectionsAreBounded() async throws {
        var limits = MetricsServer.Limits()
        limits.connections = 8
        try await serve(limits: limits) { port in
            var clients = try (0..<8).map { _ in try Client(port) }
            for client in clients {
                try client.send(get(method: "HEAD"))
                _ = try await client.read { $0.hasSuffix("\r\n\r\n") }
            }
            #expect(try await Client(port).readToEnd() == "")
            clients.removeLast()
            // A closed connection makes room.
            var answer = ""
            for _ in 0..<1000 where answer.isEmpty {
                let client = try Client(port)
                try client.send(get("/metrics", "Connection: close\r\n"))
                answer = try await client.readToEnd()
            }
            #expect(answer.hasSuffix("mmm"))
        }
    }

    @Test("clients that do not read or do not finish a request are dropped, and delay no one")
    func idlersAreDropped() async throws {
        var limits = MetricsServer.Limits()
        (limits.exchange, limits.rest) = (.seconds(3), .seconds(3))
        try await serve(size: 8 << 20, limits: limits) { port in
            let deaf = try Client(port)
            try deaf.send(String(repeating: get(), count: 60))
            let slow = try Client(port)
            try slow.send("GET /met")
            let silent = try Client(port)
            let client = try Client(port)
            try client.send(get("/metrics", "Connection: close\r\n"))
            #expect(try await client.readToEnd().utf8.count > 8 << 20)
            #expect(try await slow.readToEnd() == "")
            #expect(try await silent.readToEnd() == "")
            // The kernel had taken one answer and a part, and no more came.
            #expect(try await deaf.readToEnd().utf8.count < 60 * (8 << 20))
        }
    }
}

/// A client that never blocks a thread.
private final class Client {
    struct Failure: Error { var operation: String, code = errno }

    private let socket: Int32

    init(_ port: UInt16) throws {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else { throw Failure(operation: "connect") }
        _ = fcntl(socket, F_SETFL, O_NONBLOCK)
    }

    deinit { close(socket) }

    /// Sends a text that fits into the socket's buffer.
    func send(_ text: String) throws {
        let bytes = Array(text.utf8)
        guard Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw Failure(operation: "send")
        }
    }

    func readToEnd() async throws -> String { try await read { _ in false } }

    /// Reads until the text is enough or the server closes the connection, for at most 30 s.
    func read(until isEnough: (String) -> Bool) async throws -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let end = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < end {
            let count = recv(socket, &buffer, buffer.count, 0)
            if count > 0 {
                bytes += buffer.prefix(count)
                if bytes.count < 1 << 20, isEnough(String(decoding: bytes, as: UTF8.self)) { break }
            } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
                break
            } else {
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        if ContinuousClock.now >= end { throw Failure(operation: "read", code: ETIMEDOUT) }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension String {
    /// Returns the number of occurrences of the part.
    fileprivate func components(of part: String) -> Int {
        var (count, rest) = (0, Array(utf8)[...])
        let part = Array(part.utf8)
        while let start = rest.firstIndex(of: part[0]) {
            rest = rest[start...]
            if rest.starts(with: part) { count += 1 }
            rest = rest.dropFirst()
        }
        return count
    }
}
