import Addresses
import CLinux
import Glibc
import LoadBalancing
import NIOConcurrencyHelpers
import NIOCore
import NIOHPACK
import NIOPosix
import NIOSSL
import Testing

@testable import HealthChecks

/// Every kind of check against real servers on loopback.
struct LoopbackTests {
    private let checker = Checker(group: MultiThreadedEventLoopGroup.singleton)

    /// Runs a check with a long deadline, which allows for a loaded machine.
    private func run(_ check: Check, by way: Check.Way = .direct(Loopback.address)) async -> CheckVerdict {
        await checker.run(check, by: way, deadline: .seconds(30))
    }

    private func reason(_ verdict: CheckVerdict) -> String? {
        if case .failed(let failure) = verdict { failure.reason } else { nil }
    }

    private func stage(_ verdict: CheckVerdict) -> CheckStage? {
        if case .failed(let failure) = verdict { failure.stage } else { nil }
    }

    @Test("a connect passes with its latency")
    func tcp() async throws {
        let verdict = try await LoopbackServer.stream(Part()) { await run(.tcp(TCPCheck(port: $0))) }
        guard case .passed(let pass) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        #expect(pass.latency > .zero)
        #expect(pass.latency < .seconds(30))
        #expect(pass.weight == nil)
    }

    @Test("a refused connection fails in its first stage, and proves that the host answered")
    func refused() async throws {
        let port: UInt16 = 9
        let closed = Check.Way.direct(Loopback.closed)
        for check in [
            Check.tcp(TCPCheck(port: port)), .tls(TLSCheck(port: port)), .http(HTTPCheck(port: port)),
            .http(HTTPCheck(port: port, version: .http2)), .grpc(GRPCHealthCheck(port: port)),
            .smtp(SMTPCheck(port: port)),
        ] {
            let expected = CheckVerdict.Failure(
                stage: .connect, reason: "connect: Connection refused", hostAnswered: true)
            #expect(await run(check, by: closed) == .failed(expected), "\(check)")
        }
        let expected = CheckVerdict.Failure(stage: .answer, reason: "answer: Connection refused", hostAnswered: true)
        #expect(await run(.udp(UDPCheck(port: port, payload: [1], reply: .optional)), by: closed) == .failed(expected))
        let question = try DNSQuestion(name: "x", type: DNSRecordType(code: 1))
        #expect(await run(.dns(DNSCheck(port: port, question: question)), by: closed) == .failed(expected))
    }

    @Test("a ping passes, also by the tunnel's socket")
    func echo() async {
        #expect(await run(.echo(EchoCheck())).isPassed)
        #expect(await run(.echo(EchoCheck()), by: Loopback.way(to: Loopback.address, mark: 1)).isPassed)
    }

    @Test("status, body, pattern and digest of a response are checked")
    func http() async throws {
        let response = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhealthy\n"
        let good: [HTTPCheck.Expectation] = [
            .contains("health"), .matches(try Pattern("(?m)^healthy$")),
            .sha256(SHA256Tests.digest(of: "healthy\n")),
        ]
        let sick = try Pattern("^sick")
        try await LoopbackServer.stream(.replies(response)) { port in
            #expect(await run(.http(HTTPCheck(port: port))).isPassed)
            #expect(await run(.http(HTTPCheck(port: port, body: good))).isPassed)
            #expect(
                reason(await run(.http(HTTPCheck(port: port, body: [.matches(sick)]))))
                    == "body does not match /^sick/")
            #expect(
                reason(await run(.http(HTTPCheck(port: port, status: [404...404])))) == "status 200, expected 404")
        }
        // A body may end with the connection, or have chunks and trailers. A response to HEAD has no body.
        let untilClose = Part.replies("HTTP/1.0 200 OK\r\n\r\nhealthy\n", closes: true)
        let chunked = Part.replies(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhealthy\n\r\n0\r\nX: y\r\n\r\n")
        for part in [untilClose, chunked] {
            let verdict = try await LoopbackServer.stream(part) { await run(.http(HTTPCheck(port: $0, body: good))) }
            #expect(verdict.isPassed, "\(verdict)")
        }
        let head = Part.replies("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        #expect(
            try await LoopbackServer.stream(head) { await run(.http(HTTPCheck(port: $0, method: "HEAD"))) }.isPassed)
    }

    /// `HTTP1ResponseReaderTests` has more such responses. Heads of HTTP/2 may have the same length.
    @Test("long and lenient responses pass, as with curl")
    func responsesAsCurlAcceptsThem() async throws {
        let long = String(repeating: "a", count: 64_000)
        let lenient = Part.replies(
            "HTTP/1.1 200 OK\nX: a\n b\nContent-Length : 2\nY: \(long)\nContent-Length: 2\n\nok")
        try await LoopbackServer.stream(lenient) { port in
            let verdict = await run(.http(HTTPCheck(port: port, body: [.matches(try Pattern("^ok$"))])))
            #expect(verdict.isPassed, "\(verdict)")
        }
        // The head is short on the wire, as an index replaces a repeated field.
        var head: HPACKHeaders = [":status": "200"]
        for _ in 0..<20 { head.add(name: "x", value: String(long.prefix(3000))) }
        let second = try await LoopbackServer.http2(StreamPart(head: head, ends: true)) {
            await run(.http(HTTPCheck(port: $0, version: .http2)))
        }
        #expect(second.isPassed, "\(second)")
    }

    @Test("a broken response fails in its stage")
    func brokenHTTP() async throws {
        func verdict(_ part: Part) async throws -> CheckVerdict {
            try await LoopbackServer.stream(part) { await run(.http(HTTPCheck(port: $0))) }
        }
        let closed = try await verdict(.replies("", closes: true))
        #expect(reason(closed)?.hasPrefix("headers: ") == true, "\(closed)")
        let early = try await verdict(.replies("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhea", closes: true))
        #expect(reason(early) == "body: connection closed by the server", "\(early)")
        let other = try await verdict(.replies("SSH-2.0-OpenSSH\r\n"))
        #expect(reason(other)?.hasPrefix("headers: no HTTP/1.1 response") == true, "\(other)")
        let secure = try await verdict(Part(replies: [[21, 3, 1, 0, 2, 2, 70]]))
        #expect(reason(secure)?.hasPrefix("headers: no HTTP/1.1 response") == true, "\(secure)")
    }

    /// The server records the request.
    @Test("the request and the source address arrive as configured")
    func requestsAsTheyArrive() async throws {
        let seen = NIOLockedValueBox<[UInt8]>([])
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Recorder(seen: seen))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = UInt16(server.localAddress?.port ?? 0)
        let check = HTTPCheck(port: port, path: "/up?x=1", host: "w.example", fields: [.init("X-Check", "ipvsd")])
        // The socket is like the tunnel's, with a source address of the caller's choice.
        let way = Loopback.way(to: Loopback.address, mark: 1, source: IPAddress(0x7F00_0002))
        #expect(await run(.http(check), by: way).isPassed)
        try await server.close().get()
        #expect(
            String(decoding: seen.withLockedValue { $0 }, as: UTF8.self)
                == "127.0.0.2 GET /up?x=1 HTTP/1.1\r\nHost: w.example\r\nx-check: ipvsd\r\nuser-agent: ipvsd\r\n"
                + "accept: */*\r\nconnection: close\r\n\r\n")
    }

    @Test("HTTP/2 works with and without TLS, and fails with its reason")
    func http2() async throws {
        let part = StreamPart(head: [":status": "200"], body: Array("healthy".utf8), ends: true)
        func check(_ port: UInt16, tls: TLSOptions? = nil, body: String = "healthy") -> Check {
            .http(HTTPCheck(port: port, version: .http2, tls: tls, body: [.contains(body)]))
        }
        try await LoopbackServer.http2(part) { port in
            #expect(await run(check(port)).isPassed)
            #expect(reason(await run(check(port, body: "sick"))) == "body lacks \"sick\"")
            let http1 = await run(.http(HTTPCheck(port: port)))
            #expect(reason(http1)?.hasPrefix("headers: ") == true, "\(http1)")
        }
        let certificates = try TestCertificates.shared.get()
        try await LoopbackServer.http2(part, tls: certificates.server(protocols: ["h2"])) { port in
            #expect(await run(check(port, tls: TLSOptions())).isPassed)
        }
        try await LoopbackServer.http2(part, tls: certificates.server()) { port in
            let verdict = await run(check(port, tls: TLSOptions()))
            #expect(reason(verdict) == "TLS handshake: the server does not offer h2 by ALPN")
        }
        let unavailable = StreamPart(head: [":status": "503"], ends: true)
        #expect(
            try await LoopbackServer.http2(unavailable) { reason(await run(check($0))) }
                == "status 503, expected 200-399")
        let reset = try await LoopbackServer.http2(StreamPart(ends: true)) { await run(check($0)) }
        #expect(reason(reset)?.hasPrefix("headers: stream ") == true, "\(reset)")
        let speaksHTTP1 = Part.replies("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        let other = try await LoopbackServer.stream(speaksHTTP1) { await run(check($0)) }
        #expect(reason(other)?.hasPrefix("headers: no HTTP/2") == true, "\(other)")
    }

    @Test("a certificate is verified as configured")
    func tls() async throws {
        let certificates = try TestCertificates.shared.get()
        func verdict(days: String = "30", _ options: TLSOptions) async throws -> CheckVerdict {
            try await LoopbackServer.stream(Part(), tls: certificates.server(days)) { port in
                await run(.tls(TLSCheck(port: port, options: options)))
            }
        }
        let roots = TLSOptions.TrustRoots.file(certificates.root)
        let day = Duration.seconds(86_400)
        for options in [
            TLSOptions(), TLSOptions(serverName: "other.example"), TLSOptions(minimumValidity: day * 20),
            TLSOptions(verification: .chain, trustRoots: roots),
            TLSOptions(serverName: "check.example", verification: .full, trustRoots: roots),
            // The certificate contains the address itself.
            TLSOptions(verification: .full, trustRoots: roots),
        ] {
            let verdict = try await verdict(options)
            #expect(verdict.isPassed, "\(options): \(verdict)")
        }
        let unknown = try await verdict(TLSOptions(verification: .chain))
        #expect(stage(unknown) == .handshake)
        #expect(
            reason(unknown) == "TLS handshake: the certificate is not trusted (CERTIFICATE_VERIFY_FAILED)", "\(unknown)"
        )
        let misnamed = try await verdict(
            days: "30-name", TLSOptions(serverName: "other.example", verification: .full, trustRoots: roots))
        #expect(stage(misnamed) == .handshake)
        #expect(
            reason(misnamed) == "TLS handshake: the certificate names neither the server nor its address",
            "\(misnamed)")
        let short = try await verdict(days: "1", TLSOptions(minimumValidity: day * 7))
        #expect(stage(short) == .certificate)
        // The number is 24 only within the second in which the certificate was made.
        let hours = ["23", "24"].map { "certificate expires in \($0) hours, expected 7 days at least" }
        #expect(hours.contains(reason(short) ?? ""), "\(short)")
        let expired = try await verdict(days: "-1", TLSOptions(minimumValidity: .zero))
        #expect(reason(expired) == "certificate expired 24 hours ago", "\(expired)")
        #expect(try await verdict(days: "-1", TLSOptions()).isPassed)
        let untrusted = try await verdict(days: "-1", TLSOptions(verification: .chain, trustRoots: roots))
        #expect(stage(untrusted) == .handshake)
        // Unreadable trust roots of this machine prove nothing about the server.
        for (path, problem) in [
            ("/nonexistent.pem", "No such file or directory"), ("/etc/passwd", "no certificates in PEM"),
            ("/dev/null", "no certificates in PEM"),
        ] {
            let verdict = try await verdict(TLSOptions(verification: .chain, trustRoots: .file(path)))
            guard case .failed(let failure) = verdict else {
                Issue.record("\(verdict)")
                continue
            }
            #expect(failure.isOwn)
            #expect(failure.stage == .start)
            #expect(
                failure.reason
                    == "not asked, as the director itself could not: read trust roots from \(path): \(problem)")
        }
        let plain = try await LoopbackServer.stream(.replies("220 not TLS\r\n")) { await run(.tls(TLSCheck(port: $0))) }
        #expect(reason(plain) == "TLS handshake: WRONG_VERSION_NUMBER", "\(plain)")
        let closed = try await LoopbackServer.stream(.replies("", closes: true)) { await run(.tls(TLSCheck(port: $0))) }
        #expect(reason(closed)?.hasPrefix("TLS handshake: ") == true, "\(closed)")
    }

    @Test("the host of an HTTPS check is the server name")
    func https() async throws {
        let certificates = try TestCertificates.shared.get()
        let part = Part.replies("HTTP/1.1 204 No Content\r\n\r\n")
        let options = TLSOptions(verification: .full, trustRoots: .file(certificates.root))
        try await LoopbackServer.stream(part, tls: certificates.server("30-name")) { port in
            let named = HTTPCheck(port: port, host: "check.example", tls: options, status: [204...204])
            #expect(await run(.http(named)).isPassed)
            let misnamed = HTTPCheck(port: port, host: "other.example", tls: options)
            #expect(stage(await run(.http(misnamed))) == .handshake)
        }
    }

    @Test("a TLS server of OpenSSL passes")
    func opensslServer() async throws {
        let certificates = try TestCertificates.shared.get()
        let (address, port) = (IPAddress(0x7F00_0004), UInt16(4433))
        let command =
            "cd \(certificates.directory) && exec openssl s_server -accept \(address):\(port) -www "
            + "-cert server30.pem -key server.key -quiet"
        let server = Task {
            await run(.script(try ScriptCheck(arguments: ["/bin/sh", "-c", command], environment: ["HOME": "/tmp"])))
        }
        defer { server.cancel() }
        let options = TLSOptions(serverName: "check.example", verification: .full, trustRoots: .file(certificates.root))
        let check = HTTPCheck(port: port, host: "check.example", tls: options, body: [.contains("s_server")])
        var verdict = await run(.http(check), by: .direct(address))
        for _ in 0..<200 where stage(verdict) == .connect {
            try await Task.sleep(for: .milliseconds(50))
            verdict = await run(.http(check), by: .direct(address))
        }
        #expect(verdict.isPassed, "\(verdict)")
    }

    @Test("a gRPC service passes if it is SERVING")
    func grpc() async throws {
        func verdict(_ part: StreamPart) async throws -> CheckVerdict {
            try await LoopbackServer.http2(part) { await run(.grpc(GRPCHealthCheck(port: $0, service: "a.B"))) }
        }
        #expect(try await verdict(.grpc(status: 1)).isPassed)
        #expect(
            reason(try await verdict(.grpc(status: 2))) == "service a.B is NOT_SERVING, expected SERVING")
        let unimplemented = StreamPart(
            head: [":status": "200", "content-type": "application/grpc", "grpc-status": "12"], ends: true)
        #expect(reason(try await verdict(unimplemented)) == "grpc-status 12 UNIMPLEMENTED")
        let certificates = try TestCertificates.shared.get()
        let secure = try await LoopbackServer.http2(
            .grpc(status: 1), tls: certificates.server(protocols: ["h2"])
        ) { port in
            let options = TLSOptions(verification: .full, trustRoots: .file(certificates.root))
            return await run(.grpc(GRPCHealthCheck(port: port, authority: "check.example", tls: options)))
        }
        #expect(secure.isPassed, "\(secure)")
    }

    @Test("an SMTP server passes if it is ready")
    func smtp() async throws {
        let good = Part.replies("250 mx\r\n", "221 bye\r\n", greeting: "220 mx\r\n")
        #expect(try await LoopbackServer.stream(good) { await run(.smtp(SMTPCheck(port: $0))) }.isPassed)
        let busy = Part.replies(greeting: "421 too busy\r\n")
        let verdict = try await LoopbackServer.stream(busy) { await run(.smtp(SMTPCheck(port: $0))) }
        #expect(
            verdict
                == .failed(
                    .init(stage: .greeting, reason: "greeting: \"421 too busy\", expected 220", hostAnswered: true)))
    }

    @Test("a DNS server passes if it has the records")
    func dns() async throws {
        let question = try DNSQuestion(name: "x.example", type: DNSRecordType(code: 1))
        let record = try DNSRecordData("192.0.2.1", type: question.type)
        let answer: @Sendable ([UInt8]) -> [UInt8] = { query in
            var bytes = query
            bytes.replaceSubrange(2..<4, with: [0x81, 0x80])
            bytes[7] = 1
            return bytes + [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]
        }
        try await LoopbackServer.datagram(reply: answer) { port in
            #expect(await run(.dns(DNSCheck(port: port, question: question, records: [record]))).isPassed)
            let missing = try DNSRecordData("192.0.2.2", type: question.type)
            #expect(
                reason(await run(.dns(DNSCheck(port: port, question: question, records: [missing]))))
                    == "answer to x.example A lacks 192.0.2.2: 192.0.2.1")
        }
    }

    @Test("a UDP reply is compared with the expected one")
    func udp() async throws {
        try await LoopbackServer.datagram(reply: { [0xFF] + $0 }) { port in
            #expect(await run(.udp(UDPCheck(port: port, payload: [1, 2], reply: .equals([0xFF, 1, 2])))).isPassed)
            #expect(
                reason(await run(.udp(UDPCheck(port: port, payload: [1], reply: .equals([1])))))
                    == "answer 0xff01, expected 0x01")
        }
    }

    @Test("a script decides by its exit code, output and signals")
    func scripts() async throws {
        func verdict(_ script: String, _ arguments: String..., by way: Check.Way = .direct(Loopback.address))
            async throws
            -> CheckVerdict
        {
            await run(
                .script(
                    try ScriptCheck(arguments: ["/bin/sh", "-c", script, "sh"] + arguments, environment: ["X": "y z"])),
                by: way)
        }
        func weight(_ verdict: CheckVerdict) -> Int? {
            if case .passed(let pass) = verdict { pass.weight } else { nil }
        }
        #expect(try await verdict("exit 0").isPassed)
        #expect(weight(try await verdict("echo 7")) == 7)
        #expect(reason(try await verdict("echo sick >&2; exit 3")) == "exit code 3: sick")
        #expect(reason(try await verdict("kill -SEGV $$")) == "killed by signal 11")
        #expect(reason(try await verdict("echo \"$1\"; exit 1", "a  b")) == "exit code 1: a  b")
        // The output exceeds the size of a pipe.
        #expect(try await verdict("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2").isPassed)
        #expect(
            reason(try await verdict("echo $X $IPVSD_VIA $IPVSD_ADDRESS $IPVSD_TIMEOUT$IPVSD_MARK; pwd >&2; exit 1"))
                == "exit code 1: /")
        #expect(
            reason(try await verdict("echo $X $IPVSD_VIA $IPVSD_ADDRESS $IPVSD_TIMEOUT$IPVSD_MARK $HOME; exit 1"))
                == "exit code 1: y z direct 127.0.0.1 30")
        #expect(
            reason(
                try await verdict(
                    "echo $IPVSD_VIA $IPVSD_ADDRESS $IPVSD_MARK $IPVSD_SOURCE; exit 1",
                    by: Loopback.way(to: Loopback.address, mark: 9, source: IPAddress(0x7F00_0002))))
                == "exit code 1: tunnel 127.0.0.1 9 127.0.0.2")
        // The script inherits no descriptor of the daemon. It has the three standard descriptors, and ls opens a
        // fourth.
        #expect(weight(try await verdict("ls /proc/self/fd | wc -l")) == 4)
        let (none, notOne) = (try ScriptCheck(arguments: ["/nonexistent"]), try ScriptCheck(arguments: ["/etc/passwd"]))
        #expect(
            reason(await run(.script(none)))
                == "start /nonexistent: No such file or directory")
        #expect(
            reason(await run(.script(notOne)))
                == "start /etc/passwd: Permission denied")
    }

    @Test(
        "the whole process group of a script is killed at its end or its deadline",
        arguments: [("exit 0", 30), ("sleep 1000", 0.5)])
    func scriptsTakeTheirGroupAlong(end: String, seconds: Double) async throws {
        var template = Array("/tmp/ipvsd-group-XXXXXX".utf8CString)
        close(mkstemp(&template))
        let path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        defer { unlink(path) }
        // The background process keeps the output open.
        let script = "trap '' TERM HUP; sleep 1000 & echo $! > \(path); \(end)"
        let check = Check.script(try ScriptCheck(arguments: ["/bin/sh", "-c", script]))
        let verdict = await checker.run(check, by: .direct(Loopback.address), deadline: .seconds(seconds))
        #expect(verdict.isPassed == (seconds == 30), "\(verdict)")
        let process = try FileReader.read(path).reduce(pid_t(0)) { 48 <= $1 ? $0 * 10 + pid_t($1 - 48) : $0 }
        #expect(process > 1)
        // The process is killed. Its new parent may reap it later.
        #expect(await eventually { Self.isGone(process) })
    }

    private static func isGone(_ process: pid_t) -> Bool {
        guard kill(process, 0) == 0 else { return errno == ESRCH }
        guard let status = try? FileReader.read("/proc/\(process)/stat") else { return true }
        return String(decoding: status, as: UTF8.self).contains(") Z")
    }

    @Test("a file decides by its weight")
    func files() async throws {
        var template = Array("/tmp/ipvsd-weight-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        let path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        defer { unlink(path) }
        func verdict(_ text: String) async throws -> CheckVerdict {
            ftruncate(descriptor, 0)
            pwrite(descriptor, text, text.utf8.count, 0)
            return await run(.file(try FileCheck(path: path)))
        }
        guard case .passed(let pass) = try await verdict("50\n") else {
            Issue.record("no weight")
            return
        }
        #expect(pass.weight == 50)
        #expect(reason(try await verdict("fifty\n")) == "\(path): \"fifty\" is no weight, 0 to 65535")
        #expect(reason(try await verdict("")) == "\(path): \"\" is no weight, 0 to 65535")
        close(descriptor)
        let (none, directory, pipe) = (
            try FileCheck(path: "/nonexistent"), try FileCheck(path: "/tmp"), try FileCheck(path: path)
        )
        #expect(
            reason(await run(.file(none)))
                == "open /nonexistent: No such file or directory")
        #expect(reason(await run(.file(directory))) == "open /tmp: no regular file")
        unlink(path)
        mkfifo(path, 0o600)
        #expect(reason(await run(.file(pipe))) == "open \(path): no regular file")
    }

    /// The way through the tunnel drops all packets here.
    @Test("a check that goes both ways fails with the broken half")
    func bothWays() async throws {
        func verdict(
            _ check: Check, by way: Check.Way, beside server: IPAddress, timeout: Duration
        ) async -> CheckVerdict {
            let question = Checker.Question(id: 0, check: check, way: way, beside: server, timeout: timeout)
            return await checker.ask(question).verdict
        }
        // The first check runs in `ProbeLoop`, and the second by NIO.
        for check in [{ Check.tcp(TCPCheck(port: $0)) }, { .http(HTTPCheck(port: $0)) }] as [(UInt16) -> Check] {
            let dead = await verdict(check(9), by: Loopback.blackhole, beside: Loopback.closed, timeout: .seconds(2))
            #expect(
                reason(dead) == "connect: timed out after 2 s; 127.0.0.3 itself: connect: Connection refused: "
                    + "the host is up, the tunnel or the service is not")
            let response = Part.replies("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            try await LoopbackServer.stream(response) { port in
                let half = await verdict(
                    check(port), by: Loopback.blackhole, beside: Loopback.address, timeout: .seconds(2))
                #expect(
                    reason(half) == "connect: timed out after 2 s: service answers, decapsulation dead "
                        + "(tunl0, its VIP or rp_filter on 127.0.0.1)")
                let way = Loopback.way(to: Loopback.address, mark: 1)
                let through = await verdict(check(port), by: way, beside: Loopback.address, timeout: .seconds(30))
                #expect(through.isPassed)
                // Without a tunnel, the check goes one way only.
                let one = await verdict(
                    check(port), by: .direct(Loopback.address), beside: Loopback.closed, timeout: .seconds(30))
                guard case .passed(let pass) = one else {
                    Issue.record("\(one)")
                    return
                }
                #expect(pass.note == nil)
            }
        }
    }
}
