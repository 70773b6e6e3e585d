import Addresses
import BPF
import Testing

@testable import XDPDataPlane

/// The data plane's changes of the machine.
struct ResourceTests {
    private let other = XDPResource.sysctl("net/ipv4/conf/ipvsd0/forwarding")

    /// A container's interface also has the program, but checks do not need the program there.
    @Test("checks need their device and the programs on interfaces of answers") func whatChecksCannotDoWithout() {
        let takesPart = { CheckDevice.isNeededByChecks($0, answering: ["eth0"]) }
        #expect(takesPart(.program(.ingress, interface: "eth0")))
        #expect(takesPart(.program(.egress, interface: "ipvsd0")))
        #expect(takesPart(.program(.ingress, interface: "ipvsd0")))
        #expect(!takesPart(.program(.ingress, interface: "cali1")))
        #expect(takesPart(.checkDevice))
        #expect(!takesPart(other))
    }

    @Test("resources have the names of the log") func namesAreThoseThatOperatorsKnow() {
        let dummy = XDPResource.address(IPAddress(0xC000_0008), interface: "ipvsd0")
        #expect("\(dummy)" == "address 192.0.0.8/32 on ipvsd0")
        #expect("\(other)" == "sysctl net.ipv4.conf.ipvsd0.forwarding")
        #expect("\(XDPResource.checkDevice)" == "device ipvsd0 (with its peer ipvsd1)")
    }
}
