import Addresses
import Glibc
import LoadBalancing
import NIOHPACK
import NIOPosix
import NIOSSL
import Testing

@testable import HealthChecks

/// Peers that stall in any stage of a check.
struct StallTests {
    enum Peer: Sendable {
        /// The peer drops all packets.
        case blackhole
        case stream(Part)
        case secure(Part)
        case http2(StreamPart, secure: Bool = false)
        /// The peer receives datagrams, and sends nothing, or useless replies.
        case datagram(@Sendable ([UInt8]) -> [UInt8]? = { _ in nil })
    }

    struct Stall: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var peer: Peer
        var stage: CheckStage
        var check: @Sendable (UInt16) throws -> Check

        init(
            _ description: String, _ peer: Peer, _ stage: CheckStage,
            _ check: @escaping @Sendable (UInt16) throws -> Check
        ) {
            testDescription = description
            self.peer = peer
            self.stage = stage
            self.check = check
        }
    }

    private static func http(_ port: UInt16) -> Check { .http(HTTPCheck(port: port)) }
    private static func https(_ port: UInt16) -> Check { .http(HTTPCheck(port: port, tls: TLSOptions())) }
    private static func http2(_ port: UInt16) -> Check { .http(HTTPCheck(port: port, version: .http2)) }
    private static func https2(_ port: UInt16) -> Check {
        .http(HTTPCheck(port: port, version: .http2, tls: TLSOptions()))
    }
    private static func grpc(_ port: UInt16) -> Check { .grpc(GRPCHealthCheck(port: port)) }
    private static func grpcs(_ port: UInt16) -> Check { .grpc(GRPCHealthCheck(port: port, tls: TLSOptions())) }
    private static func tls(_ port: UInt16) -> Check { .tls(TLSCheck(port: port)) }
    private static func smtp(_ port: UInt16) -> Check { .smtp(SMTPCheck(port: port)) }
    private static func dns(_ transport: DNSCheck.Transport) -> @Sendable (UInt16) throws -> Check {
        { port in
            let question = try DNSQuestion(name: "x.example", type: DNSRecordType(code: 1))
            return .dns(DNSCheck(port: port, transport: transport, question: question))
        }
    }

    private static let silent = Part()
    /// The beginning of a ServerHello.
    private static let partOfHandshake = Part(replies: [[22, 3, 3, 0, 122, 2, 0, 0]])
    private static let head = "HTTP/1.1 200 OK\r\n"
    private static let ok: HPACKHeaders = [":status": "200"]

    static let connects: [Stall] = [
        Stall("tcp: connect", .blackhole, .connect) { .tcp(TCPCheck(port: $0)) },
        Stall("tls: connect", .blackhole, .connect, tls),
        Stall("http: connect", .blackhole, .connect, http),
        Stall("https: connect", .blackhole, .connect, https),
        Stall("http2: connect", .blackhole, .connect, http2),
        Stall("grpc: connect", .blackhole, .connect, grpc),
        Stall("smtp: connect", .blackhole, .connect, smtp),
        Stall("dns/tcp: connect", .blackhole, .connect, dns(.tcp)),
        Stall("dns/udp: no answer through a blackhole", .blackhole, .answer, dns(.udp)),
        Stall("udp: no answer through a blackhole", .blackhole, .answer) { .udp(UDPCheck(port: $0, payload: [1])) },
        Stall("ping: no answer", .blackhole, .answer) { _ in .echo(EchoCheck()) },
    ]

    static let handshakes: [Stall] = [
        Stall("tls: handshake", .stream(silent), .handshake, tls),
        Stall("tls: half a handshake", .stream(partOfHandshake), .handshake, tls),
        Stall("https: handshake", .stream(silent), .handshake, https),
        Stall("https, http2: half a handshake", .stream(partOfHandshake), .handshake, https2),
        Stall("grpc by TLS: handshake", .stream(silent), .handshake, grpcs),
    ]

    static let http1: [Stall] = [
        Stall("http: headers", .stream(silent), .headers, http),
        Stall("http: half the headers", .stream(.replies("\(head)Content-Le")), .headers, http),
        Stall("http: headers without end", .stream(.replies(head, drip: "X: y\r\n")), .headers, http),
        Stall("http: 1xx without end", .stream(.replies("HTTP/1.1 103 Early Hints\r\n\r\n")), .headers, http),
        Stall("http: body", .stream(.replies("\(head)Content-Length: 9\r\n\r\n")), .body, http),
        Stall("http: half a body", .stream(.replies("\(head)Content-Length: 9\r\n\r\nabc")), .body, http),
        Stall(
            "http: a body that drips", .stream(.replies("\(head)Content-Length: 65000\r\n\r\n", drip: "x")), .body, http
        ),
        Stall("http: a body until close", .stream(.replies("\(head)\r\nabc")), .body, http),
        Stall(
            "http: trailers", .stream(.replies("\(head)Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")), .body, http
        ),
        Stall("https: headers", .secure(silent), .headers, https),
        Stall("https: body", .secure(.replies("\(head)Content-Length: 9\r\n\r\nabc")), .body, https),
        Stall("https: a body that drips", .secure(.replies("\(head)\r\n", drip: "x")), .body, https),
    ]

    static let http2: [Stall] = [
        Stall("http2: no SETTINGS", .stream(silent), .headers, http2),
        Stall("http2: headers", .http2(StreamPart()), .headers, http2),
        Stall("http2: body", .http2(StreamPart(head: ok)), .body, http2),
        Stall("http2: half a body", .http2(StreamPart(head: ok, body: [1, 2])), .body, http2),
        Stall("http2 by TLS: headers", .http2(StreamPart(), secure: true), .headers, https2),
        Stall("http2 by TLS: body", .http2(StreamPart(head: ok, body: [1]), secure: true), .body, https2),
        Stall("grpc: headers", .http2(StreamPart()), .headers, grpc),
        Stall("grpc: body", .http2(StreamPart(head: StreamPart.grpcHead)), .body, grpc),
        Stall("grpc: half a message", .http2(StreamPart(head: StreamPart.grpcHead, body: [0, 0])), .body, grpc),
        Stall(
            "grpc: trailers", .http2(StreamPart(head: StreamPart.grpcHead, body: [0, 0, 0, 0, 2, 8, 1])), .trailers,
            grpc),
        Stall(
            "grpc by TLS: trailers",
            .http2(StreamPart(head: StreamPart.grpcHead, body: [0, 0, 0, 0, 2, 8, 1]), secure: true), .trailers, grpcs),
    ]

    static let others: [Stall] = [
        Stall("smtp: greeting", .stream(silent), .greeting, smtp),
        Stall("smtp: half a greeting", .stream(.replies(greeting: "220-mx\r\n220")), .greeting, smtp),
        Stall("smtp: a greeting that drips", .stream(.replies(greeting: "220-", drip: "x")), .greeting, smtp),
        Stall("smtp: HELO", .stream(.replies(greeting: "220 mx\r\n")), .hello, smtp),
        Stall("smtp: QUIT", .stream(.replies("250 mx\r\n", greeting: "220 mx\r\n")), .quit, smtp),
        Stall("dns/tcp: answer", .stream(silent), .answer, dns(.tcp)),
        Stall("dns/tcp: half an answer", .stream(Part(replies: [[0, 40, 1, 2]])), .answer, dns(.tcp)),
        Stall("dns/udp: answer", .datagram(), .answer, dns(.udp)),
        Stall("dns/udp: answers to nobody's query", .datagram { [$0[0] ^ 1] + $0.dropFirst() }, .answer, dns(.udp)),
        Stall("udp: answer", .datagram(), .answer) { .udp(UDPCheck(port: $0, payload: [1])) },
        Stall("script: it sleeps", .datagram(), .run) { _ in
            .script(try ScriptCheck(arguments: ["/bin/sh", "-c", "trap '' TERM HUP INT; sleep 1000"]))
        },
        Stall("script: it talks", .datagram(), .run) { _ in .script(try ScriptCheck(arguments: ["/usr/bin/yes"])) },
    ]

    @Test(
        "a stalled check ends at its deadline, and names its stage",
        arguments: connects + handshakes + http1 + http2 + others)
    func deadlineHolds(stall: Stall) async throws {
        let checker = Checker(group: MultiThreadedEventLoopGroup.singleton)
        func run(at port: UInt16) async throws {
            let check = try stall.check(port)
            let way =
                if case .blackhole = stall.peer { Loopback.blackhole } else { Check.Way.direct(Loopback.address) }
            // On a loaded machine, the stage may be reached late. The deadline holds all the same.
            var verdict: CheckVerdict?
            for deadline: Duration in [.milliseconds(300), .seconds(2), .seconds(10)] {
                let clock = ContinuousClock()
                let began = clock.now
                verdict = await checker.run(check, by: way, deadline: deadline)
                let took = clock.now - began
                #expect(took >= deadline, "\(took)")
                #expect(took < deadline + .seconds(30), "\(took)")
                if case .failed(let failure) = verdict, failure.stage == stall.stage {
                    #expect(failure.reason == "\(stall.stage): timed out after \(deadline.seconds)")
                    let isSilent = if case .blackhole = stall.peer { true } else { stall.stage == .answer }
                    if case .script = check {
                    } else if stall.stage != .answer {
                        #expect(failure.hostAnswered != isSilent)
                    }
                    return
                }
            }
            Issue.record("\(String(describing: verdict)), expected stage \(stall.stage)")
        }
        switch stall.peer {
        case .blackhole: try await run(at: 9)
        case .stream(let part): try await LoopbackServer.stream(part, run)
        case .secure(let part):
            try await LoopbackServer.stream(part, tls: TestCertificates.shared.get().server(), run)
        case .http2(let part, secure: false): try await LoopbackServer.http2(part, run)
        case .http2(let part, secure: true):
            try await LoopbackServer.http2(part, tls: TestCertificates.shared.get().server(protocols: ["h2"]), run)
        case .datagram(let reply): try await LoopbackServer.datagram(reply: reply, run)
        }
    }

    @Test("silence passes if the reply is optional")
    func silenceMayBeHealth() async throws {
        let checker = Checker(group: MultiThreadedEventLoopGroup.singleton)
        let verdict = try await LoopbackServer.datagram(reply: { _ in nil }) { port in
            await checker.run(
                .udp(UDPCheck(port: port, payload: [1], reply: .optional)), by: .direct(Loopback.address),
                deadline: .milliseconds(300))
        }
        guard case .passed(let pass) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        #expect(pass.latency >= .milliseconds(300))
    }

    /// The search would not end within years without a limit.
    @Test("a catastrophic pattern fails within its limit")
    func catastrophicPattern() async throws {
        let text = String(repeating: "a", count: 64) + "b"
        let part = Part.replies("HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n\(text)")
        let pattern = try Pattern("^(a+)+$")
        let verdict = try await LoopbackServer.stream(part) { port in
            await Checker(group: MultiThreadedEventLoopGroup.singleton).run(
                .http(HTTPCheck(port: port, body: [.matches(pattern)])), by: .direct(Loopback.address),
                deadline: .seconds(30))
        }
        guard case .failed(let failure) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        #expect(
            failure.reason
                == "body match: the search for /^(a+)+$/ takes too much time or memory (50 ms, 32 MiB at most)")
        #expect(failure.stage == .bodyMatch)
        #expect(!failure.isOwn)
    }

    @Test(
        "a cancelled check ends at once",
        arguments: [
            (Check.tcp(TCPCheck(port: 9)), CheckStage.connect), (.echo(EchoCheck()), .answer),
            (.http(HTTPCheck(port: 9)), .connect),
        ])
    func cancelledChecksEnd(check: Check, stage: CheckStage) async throws {
        let checker = Checker(group: MultiThreadedEventLoopGroup.singleton)
        let task = Task { await checker.run(check, by: Loopback.blackhole, deadline: .seconds(600)) }
        task.cancel()
        #expect(await task.value == .failed(.init(stage: stage, reason: "cancelled", isOwn: true)))
    }
}

extension Checker {
    /// Runs one check one way, and returns its verdict.
    func run(_ check: Check, by way: Check.Way, deadline: Duration) async -> CheckVerdict {
        await ask(Question(id: 0, check: check, way: way, timeout: deadline)).verdict
    }
}

/// The ways of checks on the loopback device.
enum Loopback {
    static let address = IPAddress(0x7F00_0001)
    /// An address without any server of a test, so that every port refuses.
    static let closed = IPAddress(0x7F00_0003)

    static let noDevice = Check.Way.tunnel(vip: address, mark: 1, device: .max, source: address)

    /// A way to TEST-NET-1 on lo, where packets vanish. It has the options of the tunnel, and needs its privilege.
    static var blackhole: Check.Way { way(to: IPAddress(0xC000_0201), mark: 1) }

    static func way(to address: IPAddress, mark: UInt32, source: IPAddress = Self.address) -> Check.Way {
        .tunnel(vip: address, mark: mark, device: Int32(if_nametoindex("lo")), source: source)
    }
}
