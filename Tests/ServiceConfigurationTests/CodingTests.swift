import Foundation
import LoadBalancing
import ServiceConfiguration
import Testing

/// Values as JSON: what breaks an invariant is refused.
struct CodingTests {
    @Test(arguments: ["0", "5,\"lower\":6", "5,\"lower\":0"])
    func badThresholdsAreRefused(upper: String) {
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(ConnectionThresholds.self, from: Data("{\"upper\":\(upper)}".utf8))
        }
    }

    @Test func durationsAreWholeMilliseconds() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let json = String(decoding: try encoder.encode(CheckPolicy(kind: .tcp(port: 80))), as: UTF8.self)
        #expect(
            json == """
                {"fall":2,"fastIntervalMilliseconds":300,"intervalMilliseconds":1000,"kind":"tcp:80","rise":2,\
                "timeoutMilliseconds":700}
                """)
    }

    @Test(arguments: [
        #"{"vip":"10.0.0.1","port":80}"#, #"{"vip":"10.0.0.1","transport":"tcp"}"#,
        #"{"vip":"10.0.0.1","port":0,"transport":"tcp"}"#, #"{"vip":"10.0.0.256"}"#,
    ])
    func halfAnAddressIsRefused(json: String) {
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(ServiceAddress.self, from: Data(json.utf8))
        }
    }

    @Test func unknownCheckIsRefused() {
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(CheckPolicy.Kind.self, from: Data(#""tcp:0""#.utf8))
        }
    }
}
