import Addresses
import DataPlane
import Testing

@testable import Netlink
@testable import XDPDataPlane

/// The interfaces that a director takes, computed without real devices.
struct IngressTests {
    private static func link(
        _ index: Int32, _ name: String, kind: String? = nil, lower: Int32? = nil, master: Int32? = nil,
        alternativeNames: [String] = []
    ) -> Link {
        Link(
            index: index, name: name, kind: kind, mtu: 1500, isUp: true, hasCarrier: true, isLoopback: false,
            hardwareType: 1, address: MACAddress([2, 0, 0, 0, 0, UInt8(index)]), master: master, lower: lower, tag: nil,
            filtersVLANs: false, noARP: false, transmitErrors: 0, transmitDropped: 0,
            alternativeNames: alternativeNames)
    }

    @Test("an interface in a VRF is refused by the VRF's name")
    func interfaceInVRF() throws {
        let tree = LinkTree([
            Self.link(1, "eth0", master: 9), Self.link(2, "eth0.7", kind: "vlan", lower: 1),
            Self.link(3, "br0", kind: "bridge", master: 9), Self.link(4, "eth1", master: 3),
            Self.link(9, "red", kind: "vrf"),
        ])
        for name in ["eth0", "br0"] {
            let link = try #require(tree.link(named: name))
            let error = try #require(throws: DataPlaneError.self) { try Ingress(link, in: tree) }
            #expect(error.kind == .interface)
            #expect(error.description.hasPrefix("attach director to \(name): it is part of the VRF red"))
        }
        // The VLAN device has routes of its own, so its lower device may be part of the VRF.
        #expect(try Ingress(try #require(tree.link(named: "eth0.7")), in: tree).devices.map(\.name) == ["eth0"])
    }

    @Test("an interface is found by its other names, unless another one is called so")
    func otherNames() {
        let tree = LinkTree([
            Self.link(1, "eth0", alternativeNames: ["enp5s0f0np0", "eth1"]), Self.link(2, "eth1"),
        ])
        #expect(tree.link(named: "enp5s0f0np0")?.index == 1)
        #expect(tree.link(named: "eth1")?.index == 2)
        #expect(tree.link(named: "enp5s0f0np1") == nil)
    }

    @Test("an interface goes by its present name")
    func renamed() throws {
        let ingress = try Ingress(Self.link(1, "eth0"), in: LinkTree([Self.link(1, "eth0")]))
        let now = ingress.following(LinkTree([Self.link(1, "wan0"), Self.link(2, "eth0")]))
        #expect(([now.link] + now.devices + now.members).map(\.name) == ["wan0", "wan0", "wan0"])
    }
}
