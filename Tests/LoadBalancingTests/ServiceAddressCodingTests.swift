import Foundation
import LoadBalancing
import Testing

/// Service addresses as JSON: what breaks their invariant is refused.
struct ServiceAddressCodingTests {
    @Test(
        "JSON with half a service address is refused",
        arguments: [
            #"{"vip":"10.0.0.1","port":80}"#, #"{"vip":"10.0.0.1","transport":"tcp"}"#,
            #"{"vip":"10.0.0.1","port":0,"transport":"tcp"}"#, #"{"vip":"10.0.0.256"}"#,
        ])
    func halfAnAddressIsRefused(json: String) {
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(ServiceAddress.self, from: Data(json.utf8))
        }
    }
}
