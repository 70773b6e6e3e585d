import Addresses
import NIOCore
import NIOHPACK
import Testing

@testable import HealthChecks

/// The content of requests, and the judgement of responses.
struct HTTPJudgeTests {
    private let address = IPAddress(0x0A00_0001)

    private func judge(_ check: HTTPCheck, _ events: [HTTPEvent]) -> HTTPStep {
        var judge = HTTPResponseJudge(check)
        for event in events {
            let step = judge.receive(event)
            if step != .wait { return step }
        }
        return .wait
    }

    private func response(_ status: Int, _ body: String = "") -> [HTTPEvent] {
        [.head(status: status, fields: []), .body(Array(body.utf8)), .end]
    }

    @Test("a request has its path, its authority and the default fields")
    func request() {
        let request = HTTPCheck(port: 80, path: "/a?b").request(to: address)
        #expect(request.method == "GET")
        #expect(request.path == "/a?b")
        #expect(request.authority == "10.0.0.1")
        #expect(
            request.fields == [
                .init("user-agent", "ipvsd"), .init("accept", "*/*"), .init("connection", "close"),
            ])
        #expect(HTTPCheck(port: 8080).request(to: address).authority == "10.0.0.1:8080")
        #expect(HTTPCheck(port: 443, tls: TLSOptions()).request(to: address).authority == "10.0.0.1")
        #expect(HTTPCheck(port: 443).request(to: address).authority == "10.0.0.1:443")
        #expect(HTTPCheck(port: 80, host: "w.example").request(to: address).authority == "w.example")
        #expect(
            HTTPCheck(port: 80, fields: [.init("HOST", "v.example")]).request(to: address).authority == "v.example")
    }

    @Test("configured fields replace the default ones")
    func givenFieldsReplaceTheDefaults() {
        let fields: [HTTPCheck.Field] = [.init("User-Agent", "x"), .init("ACCEPT", "a/b"), .init("X-Y", "z")]
        let request = HTTPCheck(port: 80, method: "POST", fields: fields, version: .http2).request(to: address)
        #expect(
            request.fields == [
                .init("user-agent", "x"), .init("accept", "a/b"), .init("x-y", "z"), .init("content-length", "0"),
            ])
        let closing = HTTPCheck(port: 80, fields: [.init("Connection", "keep-alive")])
        #expect(closing.request(to: address).fields.first == .init("connection", "keep-alive"))
    }

    @Test("the head is encoded for HTTP/1.1 and for HTTP/2")
    func headsOnTheWire() {
        let request = HTTPCheck(port: 80, method: "HEAD", path: "/x", host: "h").request(to: address)
        #expect(
            String(decoding: request.http1Head, as: UTF8.self)
                == "HEAD /x HTTP/1.1\r\nHost: h\r\nuser-agent: ipvsd\r\naccept: */*\r\nconnection: close\r\n\r\n")
        let second = HTTP2StreamHandler.headers(
            of: HTTPCheck(port: 1, host: "h", version: .http2, tls: TLSOptions()).request(to: address))
        #expect(second.prefix(4).map(\.name) == [":method", ":scheme", ":authority", ":path"])
        #expect(second[":scheme"] == ["https"])
        #expect(second["connection"].isEmpty)
    }

    @Test("the server name of TLS is the host, unless it is an address")
    func serverNames() {
        #expect(Authority.serverName("w.example:8443") == "w.example")
        #expect(Authority.serverName("10.0.0.1:8443") == nil)
        #expect(Authority.serverName("[::1]:1") == nil)
        #expect(Authority.serverName(nil) == nil)
        var check = HTTPCheck(port: 443, host: "w.example", tls: TLSOptions())
        #expect(check.handshake?.serverName == "w.example")
        check.tls?.serverName = "s.example"
        #expect(check.handshake?.serverName == "s.example")
        check.tls = nil
        #expect(check.handshake == nil)
    }

    @Test("the status is in the configured ranges")
    func status() {
        let check = HTTPCheck(port: 80)
        #expect(judge(check, response(200)) == .end(.passed))
        #expect(judge(check, response(399)) == .end(.passed))
        #expect(judge(check, response(503)) == .end(.failed("status 503, expected 200-399")))
        #expect(judge(check, response(101)) == .end(.failed("status 101, expected 200-399")))
        let narrow = HTTPCheck(port: 80, status: [204...204, 300...303])
        #expect(judge(narrow, response(200)) == .end(.failed("status 200, expected 204, 300-303")))
        #expect(judge(narrow, response(302)) == .end(.passed))
        #expect(judge(check, [.head(status: 103, fields: [])] + response(200)) == .end(.passed))
        #expect(judge(check, [.head(status: 200, fields: []), .body([1])]) == .wait)
    }

    @Test("the body contains each text")
    func contains() {
        let check = HTTPCheck(port: 80, body: [.contains("aab"), .contains("")])
        #expect(judge(check, response(200, "xaaab")) == .end(.passed))
        #expect(judge(check, response(200, "xaaxab")) == .end(.failed("body lacks \"aab\"")))
        #expect(judge(check, response(200, "aa")) == .end(.failed("body lacks \"aab\"")))
        let pieces: [HTTPEvent] = [.head(status: 200, fields: []), .body([0x61]), .body([0x61, 0x62]), .end]
        #expect(judge(check, pieces) == .end(.passed))
    }

    @Test("only the limit of the body is read, except for a digest")
    func bodyLimit() {
        let check = HTTPCheck(port: 80, body: [.contains("b")], bodyLimit: 3)
        #expect(judge(check, response(200, "aaab")) == .end(.failed("body lacks \"b\"")))
        // The judgement does not wait for the rest of the body.
        let endless: [HTTPEvent] = [.head(status: 200, fields: []), .body(Array("aba".utf8))]
        #expect(judge(check, endless) == .end(.passed))
        // A digest waits for the whole body.
        let digest = HTTPCheck(port: 80, body: [.sha256(SHA256Tests.digest(of: "abaa"))], bodyLimit: 3)
        #expect(judge(digest, endless) == .wait)
        #expect(judge(digest, endless + [.body([0x61]), .end]) == .end(.passed))
        #expect(judge(HTTPCheck(port: 80, bodyLimit: -1), response(200, "a")) == .end(.passed))
    }

    @Test("the body has the digest")
    func digest() {
        let check = HTTPCheck(port: 80, body: [.sha256(SHA256Tests.digest(of: "abc"))])
        #expect(judge(check, response(200, "abc")) == .end(.passed))
        guard case .end(.failed(let reason)) = judge(check, response(200, "abd")) else {
            Issue.record("no failure")
            return
        }
        #expect(reason.hasPrefix("body has SHA-256 a52d159f"))
        #expect(reason.contains("expected ba7816bf"))
    }

    @Test("patterns are searched once, at the end of the body")
    func patterns() throws {
        let pattern = try Pattern("^ok [0-9]+$")
        let check = HTTPCheck(port: 80, body: [.matches(pattern)])
        #expect(judge(check, response(200, "ok 1")) == .search(Array("ok 1".utf8), [pattern]))
        // There is one search, even if more of the body follows.
        var judge = HTTPResponseJudge(HTTPCheck(port: 80, body: [.matches(pattern)], bodyLimit: 2))
        #expect(judge.receive(.head(status: 200, fields: [])) == .wait)
        #expect(judge.receive(.body(Array("ok 1".utf8))) == .search(Array("ok".utf8), [pattern]))
        #expect(judge.receive(.body([0x31])) == .wait)
        #expect(judge.receive(.end) == .wait)
    }
}
