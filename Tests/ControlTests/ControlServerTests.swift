import Addresses
import Foundation
import LoadBalancing
import Logging
import NIOCore
import NIOHTTP1
import ServiceLifecycle
import Synchronization
import Testing

@testable import Control
@testable import Director

/// The routes of the control socket, each with its answers and its refusals.
struct ControlServerTests {
    /// A request as a client sends it.
    struct Request: CustomTestStringConvertible {
        var method = HTTPMethod.GET
        var path: String
        var body = ""

        var testDescription: String { "\(method) \(path) \(body.prefix(40))" }
    }

    struct Answer {
        var status: UInt
        var type: String?
        var body: String

        func decoded<Value: Decodable>(as type: Value.Type = Value.self) throws -> Value {
            try JSONDecoder().decode(type, from: Data(body.utf8))
        }
    }

    /// Serves a director, and gives `body` a function that sends requests to it.
    private func serve(
        isStarted: Bool = true, reload: Result<String, ReloadRefusal> = .success("nothing changed"),
        stop: @escaping @Sendable (Bool) -> Void = { _ in },
        _ body: (Director, (Request) async throws -> Answer) async throws -> Void
    ) async throws {
        let directory = NSTemporaryDirectory() + "/ctl-\(UInt32.random(in: 0...UInt32.max))"
        let socket = directory + "/control.sock"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let director = try await StillDirector.make(directory: directory, isStarted: isStarted)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let server = ControlServer.application(
            director: director, socket: socket, logger: logger, reload: { _ in reload }, stop: stop)
        let group = ServiceGroup(services: [server], logger: logger)
        let running = Task { try await group.run() }
        do {
            try await untilItListens(socket)
            try await body(director) { try await Self.send($0, to: socket) }
        } catch {
            running.cancel()
            throw error
        }
        await group.triggerGracefulShutdown()
        try await running.value
    }

    private func untilItListens(_ socket: String) async throws {
        let end = ContinuousClock.now + .seconds(30)
        while true {
            do {
                _ = try await Self.send(Request(path: "/status"), to: socket)
                return
            } catch {
                if ContinuousClock.now > end { throw error }
                try await Task.sleep(for: .milliseconds(1))
            }
        }
    }

    private static func send(_ request: Request, to socket: String) async throws -> Answer {
        let connection = ControlConnection(socket: socket, first: .seconds(30), later: .seconds(30))
        return try await connection.request(request.method, request.path, body: Array(request.body.utf8)) {
            head, chunks in
            var text = ""
            for try await chunk in chunks { text += String(buffer: chunk) }
            return Answer(status: head.status.code, type: head.headers.first(name: "Content-Type"), body: text)
        }
    }

    // MARK: Status and metrics

    @Test("the status is the director's, as JSON")
    func status() async throws {
        try await serve { _, send in
            let answer = try await send(Request(path: "/status"))
            #expect(answer.status == 200)
            #expect(answer.type == "application/json")
            let status: DirectorStatus = try answer.decoded()
            #expect(status.services.map { $0.listeners.map(\.address) } == [[StillDirector.service]])
            #expect(status.services.first?.servers.map(\.address) == [StillDirector.server, StillDirector.otherServer])
        }
    }

    @Test("HEAD is answered as GET, without the body")
    func head() async throws {
        try await serve { _, send in
            let answer = try await send(Request(method: .HEAD, path: "/status"))
            #expect(answer.status == 200)
            #expect(answer.body == "")
        }
    }

    @Test("metrics have Prometheus's type")
    func metrics() async throws {
        try await serve { _, send in
            let answer = try await send(Request(path: "/metrics"))
            #expect(answer.status == 200)
            #expect(answer.type == "text/plain; version=0.0.4; charset=utf-8")
            #expect(answer.body.contains(#"ipvsd_service_servers{service="10.0.0.100:80/tcp"} 2"#))
        }
    }

    @Test("status and metrics of a director that has not started are 503", arguments: ["/status", "/metrics"])
    func unavailable(path: String) async throws {
        try await serve(isStarted: false) { _, send in
            let answer = try await send(Request(path: path))
            #expect(answer.status == 503)
        }
    }

    // MARK: Reload and stop

    @Test("a reload answers with the summary")
    func reload() async throws {
        try await serve(reload: .success("real servers added: 1")) { _, send in
            let answer = try await send(Request(method: .POST, path: "/reload"))
            #expect(answer.status == 200)
            #expect(try answer.decoded(as: [String: String].self) == ["message": "real servers added: 1"])
        }
    }

    @Test("a refused reload is 409, with the exit code and the reason")
    func refusedReload() async throws {
        try await serve(reload: .failure(ReloadRefusal(code: 64, message: "f:1: no mapping"))) { _, send in
            let answer = try await send(Request(method: .POST, path: "/reload"))
            #expect(answer.status == 409)
            let refusal: ReloadRefusal = try answer.decoded()
            #expect(refusal.code == 64)
            #expect(refusal.message == "f:1: no mapping")
        }
    }

    @Test(
        "a stop keeps the data plane only if the query says so",
        arguments: [("/stop", false), ("/stop?keep=true", true), ("/stop?keep=false", false), ("/stop?keep=1", false)])
    func stop(path: String, keeps: Bool) async throws {
        let requests = Requests()
        try await serve(stop: { requests.append($0) }) { _, send in
            let answer = try await send(Request(method: .POST, path: path))
            #expect(answer.status == 200)
            #expect(answer.body == "{}")
        }
        #expect(requests.all == [keeps])
    }

    private final class Requests: Sendable {
        private let values = Mutex<[Bool]>([])
        var all: [Bool] { values.withLock(\.self) }
        func append(_ value: Bool) { values.withLock { $0.append(value) } }
    }

    // MARK: Maintenance

    @Test("a drain, its report and its end")
    func drain() async throws {
        try await serve { _, send in
            let body = #"{"server":"10.0.0.11","force":true}"#
            var answer = try await send(Request(method: .POST, path: "/drain", body: body))
            #expect(answer.status == 200, "\(answer.body)")
            var report: DrainReport = try answer.decoded()
            #expect(report.changed)
            #expect(report.services.map(\.service) == ["10.0.0.100:80/tcp"])
            #expect(report.services.first?.drained != nil)
            answer = try await send(Request(method: .POST, path: "/drain", body: body))
            report = try answer.decoded()
            #expect(!report.changed)
            answer = try await send(Request(path: "/drain?server=10.0.0.11&service=10.0.0.100%3A80"))
            #expect(answer.status == 200)
            report = try answer.decoded()
            #expect(report.isDrained)
            answer = try await send(Request(method: .POST, path: "/undrain", body: body))
            #expect(answer.status == 200)
            report = try answer.decoded()
            #expect(report.changed)
            #expect(!report.isDrained)
        }
    }

    @Test("a drain that would cost the quorum is 409")
    func quorum() async throws {
        try await serve { _, send in
            let answer = try await send(Request(method: .POST, path: "/drain", body: #"{"server":"10.0.0.11"}"#))
            #expect(answer.status == 409)
            let error: DirectorError = try answer.decoded()
            #expect(error.kind == .tooFew)
            #expect(error.description.contains("--force drains 10.0.0.11 all the same"))
        }
    }

    @Test("an unknown service or real server of a drain is 400, with the known ones")
    func unknownInDrain() async throws {
        try await serve { _, send in
            for (method, path, body) in [
                (HTTPMethod.POST, "/drain", #"{"server":"10.0.0.99"}"#),
                (.POST, "/undrain", #"{"server":"10.0.0.99"}"#), (.GET, "/drain?server=10.0.0.99", ""),
            ] {
                let answer = try await send(Request(method: method, path: path, body: body))
                #expect(answer.status == 400)
                let error: DirectorError = try answer.decoded()
                #expect(error.kind == .badValue)
                #expect(error.description == "10.0.0.99 is no real server here (accepted: 10.0.0.11, 10.0.0.12)")
            }
            let body = #"{"server":"10.0.0.11","service":"10.0.0.100:81"}"#
            for path in ["/drain", "/undrain"] {
                let answer = try await send(Request(method: .POST, path: path, body: body))
                #expect(answer.status == 400)
                let error: DirectorError = try answer.decoded()
                #expect(error.description == "10.0.0.100:81/tcp is no service here (accepted: 10.0.0.100:80/tcp)")
            }
        }
    }

    @Test("a drain of a director that has not started is 503")
    func drainBeforeStart() async throws {
        try await serve(isStarted: false) { _, send in
            for request in [
                Request(method: .POST, path: "/drain", body: #"{"server":"10.0.0.11"}"#),
                Request(method: .POST, path: "/undrain", body: #"{"server":"10.0.0.11"}"#),
                Request(path: "/drain?server=10.0.0.11"),
            ] {
                let answer = try await send(request)
                #expect(answer.status == 503, "\(request.testDescription)")
                #expect(try answer.decoded(as: DirectorError.self).kind == .alreadyRunning)
            }
        }
    }

    // MARK: Events

    @Test("events are lines of JSON, of one service and one real server if the query says so")
    func events() async throws {
        try await serve { director, send in
            for server in [StillDirector.server, StillDirector.otherServer] {
                director.events.append(
                    DirectorEvent(
                        kind: .serverDrained, service: StillDirector.service, server: server,
                        standing: .init(up: 1, total: 2, weight: 1, quorum: 2)))
            }
            func drained(_ query: String) async throws -> [String?] {
                let answer = try await send(Request(path: "/events?\(query)"))
                #expect(answer.status == 200)
                #expect(answer.type == "application/x-ndjson")
                return try answer.body.split(separator: "\n").map {
                    try JSONDecoder().decode(DirectorEvent.self, from: Data($0.utf8))
                }.filter { $0.kind == .serverDrained }.map { $0.server?.description }
            }
            let newest = director.events.counts.values.reduce(0, +)
            let expected: [(query: String, servers: [String])] = [
                ("follow=false", ["10.0.0.11", "10.0.0.12"]), ("last=1", ["10.0.0.12"]),
                ("server=10.0.0.11", ["10.0.0.11"]), ("service=10.0.0.100%3A80&last=1", ["10.0.0.12"]),
                ("after=\(newest)", []),
            ]
            for (query, servers) in expected {
                let answered = try await drained(query)
                #expect(answered == servers, "\(query)")
            }
        }
    }

    @Test(
        "an unknown service or real server of events is 400, with the known ones",
        arguments: [
            ("service=10.0.0.100%3A81", "10.0.0.100:81/tcp is no service here (accepted: 10.0.0.100:80/tcp)"),
            ("server=10.0.0.99", "10.0.0.99 is no real server here (accepted: 10.0.0.11, 10.0.0.12)"),
        ])
    func unknownInEvents(query: String, message: String) async throws {
        try await serve { _, send in
            let answer = try await send(Request(path: "/events?\(query)"))
            #expect(answer.status == 400)
            let error: DirectorError = try answer.decoded()
            #expect(error.kind == .badValue)
            #expect(error.description == message)
        }
    }

    @Test("events of a service that a reload has removed can still be asked for")
    func eventsOfRemovedService() async throws {
        let removed = ServiceAddress(vip: IPAddress(0x0A00_0065), port: 80, transport: .tcp)
        try await serve { director, send in
            director.events.append(
                DirectorEvent(
                    kind: .serviceDown, service: removed, standing: .init(up: 0, total: 0, weight: 0, quorum: 1)))
            let answer = try await send(Request(path: "/events?service=10.0.0.101%3A80"))
            #expect(answer.status == 200)
            #expect(answer.body.split(separator: "\n").count == 1)
        }
    }

    // MARK: Bad requests

    @Test(
        "an unknown path, or a method that the path does not have, is 404",
        arguments: [
            Request(path: "/"), Request(path: "/statuses"), Request(method: .POST, path: "/status"),
            Request(path: "/reload"), Request(path: "/stop"), Request(method: .DELETE, path: "/drain"),
            Request(path: "/undrain"), Request(method: .POST, path: "/events"), Request(method: .PUT, path: "/metrics"),
        ])
    func unknownPath(request: Request) async throws {
        try await serve { _, send in
            let answer = try await send(request)
            #expect(answer.status == 404)
        }
    }

    @Test(
        "a body that is no drain request is 400, and one that is too large is 413",
        arguments: [
            ("", 400), ("no JSON", 400), ("[]", 400), ("{}", 400), (#"{"server":11}"#, 400),
            (#"{"server":"10.0.0.11","force":"yes"}"#, 400), (#"{"server":"no address"}"#, 400),
            (#"{"server":"10.0.0.11","service":"no address"}"#, 400),
            (#"{"server":""# + String(repeating: "1", count: 70_000) + #""}"#, 413),
        ] as [(String, UInt)])
    func badBody(body: String, status: UInt) async throws {
        try await serve { director, send in
            for path in ["/drain", "/undrain"] {
                let answer = try await send(Request(method: .POST, path: path, body: body))
                #expect(answer.status == status, "\(answer.body)")
            }
            let report = try await director.drainReport(DrainRequest(server: "10.0.0.11"))
            #expect(!report.isDrained)
        }
    }

    @Test("a report of a drain without a real server, or with a bad one, is 400", arguments: ["", "?server=x"])
    func badQuery(query: String) async throws {
        try await serve { _, send in
            let answer = try await send(Request(path: "/drain" + query))
            #expect(answer.status == 400)
            #expect(try answer.decoded(as: DirectorError.self).kind == .badValue)
        }
    }
}
