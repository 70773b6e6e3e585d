import Addresses
import Testing

@testable import HealthChecks

/// The request of grpc.health.v1, and the judgement of its response.
struct GRPCTests {
    private let head = HTTPEvent.head(status: 200, fields: [.init("content-type", "application/grpc+proto")])
    private let success = HTTPEvent.trailers([.init("grpc-status", "0")])

    private func judge(_ events: [HTTPEvent], service: String = "") -> (HTTPStep, CheckStage) {
        var judge = GRPCJudge(service: service)
        for event in events {
            let step = judge.receive(event)
            if step != .wait { return (step, judge.stage) }
        }
        return (.wait, judge.stage)
    }

    @Test("the request is the one of grpc.health.v1")
    func request() {
        let address = IPAddress(0x0A00_0001)
        let whole = GRPCHealthCheck(port: 50051).request(to: address)
        #expect(whole.body == [0, 0, 0, 0, 0])
        #expect(whole.authority == "10.0.0.1:50051")
        #expect(whole.method == "POST")
        #expect(whole.path == "/grpc.health.v1.Health/Check")
        #expect(whole.fields.contains(.init("te", "trailers")))
        let named = GRPCHealthCheck(port: 1, service: "a.B", authority: "g.example").request(to: address)
        #expect(named.body == [0, 0, 0, 0, 5, 0x0A, 3, 0x61, 0x2E, 0x42])
        #expect(named.authority == "g.example")
        let long = String(repeating: "s", count: 300)
        let body = GRPCHealthCheck(port: 1, service: long).request(to: address).body
        #expect(body.prefix(8) == [0, 0, 0, 1, 0x2F, 0x0A, 0xAC, 2])
    }

    @Test("SERVING passes, whole or in pieces")
    func serving() {
        #expect(judge([head, .body([0, 0, 0, 0, 2, 8, 1]), success]).0 == .end(.passed))
        let bytes: [UInt8] = [0, 0, 0, 0, 2, 8, 1]
        #expect(judge([head] + bytes.map { .body([$0]) } + [success]).0 == .end(.passed))
    }

    @Test("the stage is the part of the response that is awaited")
    func stages() {
        #expect(judge([]).1 == .headers)
        #expect(judge([.head(status: 103, fields: [])]) == (.wait, .headers))
        #expect(judge([head, .body([0, 0, 0])]) == (.wait, .body))
        #expect(judge([head, .body([0, 0, 0, 0, 2, 8, 1])]) == (.wait, .trailers))
    }

    @Test("every other response fails with its reason")
    func failures() {
        func reason(_ events: [HTTPEvent], service: String = "") -> String? {
            if case .end(.failed(let reason)) = judge(events, service: service).0 { reason } else { nil }
        }
        #expect(
            reason([head, .body([0, 0, 0, 0, 2, 8, 2]), success]) == "the server is NOT_SERVING, expected SERVING")
        #expect(
            reason([head, .body([0, 0, 0, 0, 0]), success], service: "a")
                == "service a is UNKNOWN, expected SERVING")
        #expect(reason([head, .body([0, 0, 0, 0, 2, 8, 9]), success])?.contains("status 9") == true)
        #expect(
            reason([.head(status: 200, fields: [.init("grpc-status", "12")])]) == "grpc-status 12 UNIMPLEMENTED")
        #expect(
            reason([head, .trailers([.init("grpc-status", "5"), .init("grpc-message", "unknown service")])])
                == "grpc-status 5 NOT_FOUND: unknown service")
        #expect(
            reason([head, .trailers([.init("grpc-status", "99"), .init("grpc-message", "")])]) == "grpc-status 99")
        #expect(reason([.head(status: 404, fields: [])]) == "status 404, expected 200")
        #expect(
            reason([.head(status: 200, fields: [.init("content-type", "text/html")])])
                == "content-type text/html, expected application/grpc")
        #expect(reason([head, success]) == "body: no HealthCheckResponse")
        #expect(reason([head, .body([1, 0, 0, 0, 2, 8, 1]), success]) == "body: no HealthCheckResponse")
        #expect(reason([head, .body([0, 0, 0, 0, 1, 8]), success]) == "body: no HealthCheckResponse")
        #expect(reason([head, .trailers([])]) == "trailers: no grpc-status")
        #expect(reason([head, .end]) == "trailers: none, expected grpc-status")
        #expect(reason([head, .body([UInt8](repeating: 0, count: 5000))])?.contains("4096") == true)
    }

    @Test("unknown fields of every wire type are skipped")
    func messages() {
        #expect(GRPCMessage.servingStatus([]) == 0)
        #expect(GRPCMessage.servingStatus([0x12, 1, 9, 0x19] + [UInt8](repeating: 0, count: 8) + [8, 1]) == 1)
        #expect(GRPCMessage.servingStatus([0x25, 0, 0, 0, 0, 0x18, 0x80, 1, 8, 3]) == 3)
        #expect(GRPCMessage.servingStatus([0x12, 5, 1]) == nil)
        #expect(GRPCMessage.servingStatus([0x0B]) == nil)
        #expect(GRPCMessage.servingStatus([8] + [UInt8](repeating: 0xFF, count: 12)) == nil)
        #expect(GRPCMessage.servingStatus([0x12] + [UInt8](repeating: 0xFF, count: 9) + [1]) == nil)
    }
}
