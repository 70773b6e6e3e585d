import Addresses
import DataPlane
import Foundation
import Glibc
import Hummingbird
import LoadBalancing
import Logging
import NIOCore
import NIOHTTP1
import ServiceConfiguration
import ServiceLifecycle
import Testing

@testable import Control
@testable import Director
@testable import HostState

/// The client of the control socket, against the daemon's server and against peers that break off.
struct ControlClientTests {
    private let directory = NSTemporaryDirectory() + "/ctl-\(UInt32.random(in: 0...UInt32.max))"
    private var socket: String { directory + "/control.sock" }
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// Serves a director that has not started.
    private func serve(
        timeout: Duration = .seconds(30), limit: Int = 1 << 20,
        reload: @escaping @Sendable () async -> Result<String, ReloadRefusal> = { .success("") },
        stop: @escaping @Sendable (Bool) async -> Void = { _ in },
        _ body: (ControlClient, Director, ServiceGroup) async throws -> Void
    ) async throws {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let director = Director(
            configuration: DirectorConfiguration(services: []), instance: InstancePaths(directory: directory),
            logger: logger, dataPlanes: NoDataPlanes())
        let server = ControlServer.application(
            director: director, socket: socket, logger: logger, reload: { _ in await reload() }, stop: stop)
        let group = ServiceGroup(services: [server], logger: logger)
        let running = Task { try await group.run() }
        try await untilItListens()
        do { try await body(ControlClient(socket: socket, timeout: timeout, limit: limit), director, group) } catch {
            running.cancel()
            throw error
        }
        await group.triggerGracefulShutdown()
        try await running.value
    }

    private func untilItListens() async throws {
        let client = ControlClient(socket: socket)
        let end = ContinuousClock.now + .seconds(30)
        while true {
            do { _ = try await client.status() } catch is ControlClient.Refusal { return } catch {
                if ContinuousClock.now > end { throw error }
                try await Task.sleep(for: .milliseconds(1))
            }
        }
    }

    private func event(_ server: UInt32, reason: String? = nil) -> DirectorEvent {
        DirectorEvent(
            kind: .serverDown, service: ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp),
            server: IPAddress(server), reason: reason, standing: .init(up: 1, total: 2, weight: 1, quorum: 1))
    }

    // MARK: Answers

    @Test("answers come whole, and a request body arrives")
    func answers() async throws {
        let (kept, continuation) = AsyncStream.makeStream(of: Bool.self)
        let message = String(repeating: "x", count: 300_000)
        try await serve(reload: { .success(message) }, stop: { continuation.yield($0) }) { client, _, _ in
            #expect(try await client.reload() == message)
            try await client.stop(keep: true)
            var iterator = kept.makeAsyncIterator()
            #expect(await iterator.next() == true)
            let error = await #expect(throws: DirectorError.self) {
                try await client.drain(DrainRequest(server: "no address", service: nil))
            }
            #expect(error?.kind == .alreadyRunning)
        }
    }

    @Test("the event stream gives kept events, then new ones, and ends with the daemon")
    func events() async throws {
        try await serve { client, director, group in
            for server in 1...3 as ClosedRange<UInt32> { director.events.append(event(server)) }
            var seen: [UInt32] = []
            try await client.events(follows: false, last: 2, service: nil, server: nil) { line in
                if case .event(let event, let json) = line {
                    seen.append(event.server?.v4?.value ?? 0)
                    #expect(json.contains("server-down"))
                }
            }
            #expect(seen == [2, 3])
            seen = []
            try await client.events(follows: true, last: 1, service: nil, server: nil) { line in
                guard case .event(let event, _) = line else { return }
                seen.append(event.server?.v4?.value ?? 0)
                if seen.count < 3 { director.events.append(self.event(3 + UInt32(seen.count))) }
                if seen.count == 3 { Task { await group.triggerGracefulShutdown() } }
            }
            #expect(seen == [3, 4, 5])
        }
    }

    // MARK: Errors

    @Test("without a daemon the error is the socket's")
    func noDaemon() async throws {
        let client = ControlClient(socket: socket)
        var error = await #expect(throws: IOError.self) { try await client.status() }
        #expect(error?.errnoCode == ENOENT)
        error = await #expect(throws: IOError.self) {
            try await client.events(follows: true, last: 1, service: nil, server: nil) { _ in }
        }
        #expect(error?.errnoCode == ENOENT)
        // The socket of a daemon that was killed.
        try Peer(socket, answers: nil).close()
        error = await #expect(throws: IOError.self) { try await client.status() }
        #expect(error?.errnoCode == ECONNREFUSED)
        try FileManager.default.removeItem(atPath: directory)
    }

    @Test("a refusal has its status, and the reason where the daemon gives one")
    func refused() async throws {
        let refusal = ReloadRefusal(code: 64, message: "line 3: no scheduler")
        try await serve(reload: { .failure(refusal) }) { client, _, _ in
            let starting = await #expect(throws: ControlClient.Refusal.self) { try await client.status() }
            #expect(starting?.status == 503)
            #expect(starting?.description == "the director is still starting")
            let reload = await #expect(throws: ReloadRefusal.self) { _ = try await client.reload() }
            #expect(reload?.code == 64)
            #expect(reload?.message == refusal.message)
            let events = await #expect(throws: DirectorError.self) {
                try await client.events(follows: true, last: 1, service: "a&b c", server: nil) { _ in }
            }
            #expect(events?.kind == .badValue)
            #expect(events?.description.contains("a&b c") == true)
        }
    }

    @Test("a daemon that says nothing is given up after the time-out")
    func silent() async throws {
        let (ends, continuation) = AsyncStream.makeStream(of: Void.self)
        try await serve(
            timeout: .milliseconds(50),
            reload: {
                for await _ in ends {}
                return .success("")
            }
        ) { client, _, _ in
            defer { continuation.finish() }
            let silence = await #expect(throws: ControlClient.Silence.self) { _ = try await client.reload() }
            #expect(silence?.isVoid == true)
            #expect(silence?.seconds == 0)
        }
        let peer = try Peer(socket, answers: nil)
        defer { peer.close() }
        let client = ControlClient(socket: socket, timeout: .milliseconds(50))
        var silence = await #expect(throws: ControlClient.Silence.self) { _ = try await client.status() }
        #expect(silence?.isVoid == false)
        silence = await #expect(throws: ControlClient.Silence.self) {
            try await client.events(follows: true, last: 1, service: nil, server: nil) { _ in }
        }
        #expect(silence?.isVoid == false)
        try FileManager.default.removeItem(atPath: directory)
    }

    @Test("an answer that stops in the middle is given up, too, with its first chunks read")
    func silentLater() async throws {
        let peer = try Peer(socket, answers: Self.head + "3\r\nabc\r\n", closes: false)
        defer { peer.close() }
        let connection = ControlConnection(socket: socket, first: .seconds(30), later: .milliseconds(50))
        var chunks: [String] = []
        await #expect(throws: ControlClient.Silence.self) {
            try await connection.request(.GET, "/events") { head, body in
                #expect(head.status == .ok)
                #expect(head.headers["X-Test"] == ["yes"])
                for try await chunk in body { chunks.append(String(buffer: chunk)) }
            }
        }
        #expect(chunks == ["abc"])
        try FileManager.default.removeItem(atPath: directory)
    }

    @Test("a request whose answer has begun is not void")
    func silentAfterBeginning() async throws {
        let peer = try Peer(socket, answers: Self.head + "3\r\nabc\r\n", closes: false)
        defer { peer.close() }
        let connection = ControlConnection(socket: socket, first: .seconds(30), later: .milliseconds(50))
        let silence = await #expect(throws: ControlClient.Silence.self) {
            try await connection.request(.POST, "/drain") { _, body in for try await _ in body {} }
        }
        #expect(silence?.isVoid == false)
        try FileManager.default.removeItem(atPath: directory)
    }

    private static let head = "HTTP/1.1 200 OK\r\nX-Test: yes\r\nTransfer-Encoding: chunked\r\n\r\n"

    @Test("an answer that is cut off is an error, wherever that happens")
    func cut() async throws {
        let line = String(decoding: try event(1).json(), as: UTF8.self) + "\n"
        let chunk = String(line.utf8.count, radix: 16) + "\r\n" + line + "\r\n"
        for answer in ["", Self.head, Self.head + chunk, Self.head + chunk + "7f\r\n{\"mis"] {
            let peer = try Peer(socket, answers: answer)
            var count = 0
            await #expect(throws: ControlClient.Cut.self, "\(answer)") {
                try await ControlClient(socket: socket).events(follows: true, last: 9, service: nil, server: nil) { _ in
                    count += 1
                }
            }
            #expect(count == (answer.contains(chunk) ? 1 : 0))
            peer.close()
        }
        let peer = try Peer(socket, answers: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\"")
        await #expect(throws: ControlClient.Cut.self) { _ = try await ControlClient(socket: socket).status() }
        peer.close()
        try FileManager.default.removeItem(atPath: directory)
    }

    @Test(
        "an answer that is no HTTP is an error", arguments: ["SSH-2.0-OpenSSH_9.2\r\n", "{}\n", "HTTP/9 yes\r\n\r\n"])
    func noHTTP(answer: String) async throws {
        let peer = try Peer(socket, answers: answer, closes: false)
        defer { peer.close() }
        let client = ControlClient(socket: socket)
        await #expect(throws: HTTPParserError.self) { _ = try await client.status() }
        try FileManager.default.removeItem(atPath: directory)
    }

    @Test("an answer that is no status is an error", arguments: ["", "nonsense", "[]", "{}"])
    func noStatus(body: String) async throws {
        let peer = try Peer(
            socket, answers: "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)", closes: false)
        defer { peer.close() }
        let client = ControlClient(socket: socket)
        await #expect(throws: DecodingError.self) { _ = try await client.status() }
        try FileManager.default.removeItem(atPath: directory)
    }

    @Test("an answer without its end is an error, wherever the daemon closes", arguments: [1, 12, 30, 60])
    func closedInTheMiddle(count: Int) async throws {
        let whole = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"message\":\"\"}"
        let peer = try Peer(socket, answers: String(whole.prefix(count)))
        defer { peer.close() }
        let client = ControlClient(socket: socket)
        await #expect(throws: (any Error).self) { _ = try await client.reload() }
        try FileManager.default.removeItem(atPath: directory)
    }

    @Test("an answer or an event that is too large is an error")
    func tooLarge() async throws {
        let long = String(repeating: "x", count: 100_000)
        try await serve(limit: 50_000, reload: { .success(long) }) { client, director, _ in
            let error = await #expect(throws: ControlClient.TooLarge.self) { _ = try await client.reload() }
            #expect(error?.description == "an answer of more than 50000 bytes")
            // All events together exceed the limit, but no single one does.
            for server in 1...100 as ClosedRange<UInt32> {
                director.events.append(event(server, reason: String(long.prefix(1000))))
            }
            var count = 0
            try await client.events(follows: false, last: 100, service: nil, server: nil) { _ in count += 1 }
            #expect(count == 100)
            director.events.append(event(1, reason: long))
            await #expect(throws: ControlClient.TooLarge.self) {
                try await client.events(follows: false, last: 1, service: nil, server: nil) { _ in }
            }
        }
    }
}

/// A peer that gives its first client these bytes in answer to any request; nil: it never answers.
private final class Peer: Sendable {
    private let listener: Int32

    init(_ path: String, answers text: String?, closes: Bool = true) throws {
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        unlink(path)
        listener = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(code == 0)
        try #require(listen(listener, 8) == 0)
        guard let text else { return }
        Thread.detachNewThread { [listener] in
            let client = accept(listener, nil, nil)
            var request = [UInt8](repeating: 0, count: 4096)
            _ = recv(client, &request, request.count, 0)
            let bytes = Array(text.utf8)
            _ = send(client, bytes, bytes.count, Int32(MSG_NOSIGNAL))
            // The other side closes first.
            if !closes { while recv(client, &request, request.count, 0) > 0 {} }
            Glibc.close(client)
        }
    }

    func close() { _ = Glibc.close(listener) }
}

/// The data planes of a director that is not started.
private struct NoDataPlanes: DataPlaneProvider {
    struct None: Error {}

    func preflight(_: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths) throws {}
    func open(
        _: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths, journal: ChangeJournal,
        logger: Logger
    ) throws -> any DataPlane { throw None() }
    func leftovers(_: InstancePaths, besides: [Change]) throws -> [Change] { [] }
    func isPresent(_: InstancePaths) -> Bool { false }
    func stored(_: InstancePaths) throws -> StoredDataPlane? { nil }
    func removeEmptyPlaces(_: InstancePaths) {}
}
