import Addresses
import Foundation
import LoadBalancing
import Testing

/// Service addresses as text and JSON, and the numbers of protocols.
struct ServiceAddressTests {
    let vip = IPAddress(0x0a00_0064)

    @Test("the description is the form of the flag")
    func descriptionIsWhatTheFlagTakes() {
        #expect(ServiceAddress(vip: vip).description == "10.0.0.100")
        #expect(ServiceAddress(vip: vip, port: 80, transport: .tcp).description == "10.0.0.100:80/tcp")
        #expect(ServiceAddress(vip: vip, port: 53, transport: .udp).description == "10.0.0.100:53/udp")
        #expect(ServiceAddress(vip: vip).isAnyPort)
    }

    @Test("transports have their protocol numbers")
    func transportsHaveTheirProtocolNumbers() {
        #expect(TransportProtocol.allCases.map(\.number) == [6, 17])
    }

    @Test("every scheduler has one line of help")
    func everySchedulerHasALineOfHelp() {
        #expect(
            Scheduler.allCases.map(\.rawValue) == [
                "rr", "wrr", "lc", "wlc", "sed", "nq", "sh", "dh", "mh", "fo", "ovf", "twos", "lblc", "lblcr",
            ])
        #expect(Scheduler.allCases.allSatisfy { !$0.summary.isEmpty && !$0.summary.contains("\n") })
    }

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
