import Addresses
import DataPlane
import LoadBalancing
import Testing

@testable import Netlink
@testable import XDPDataPlane

/// The interfaces that get the stray program, and the places of stray packets on them.
struct ElsewhereTests {
    private static let vip = IPAddress(0x0A00_0064)

    private static func link(
        _ index: Int32, _ name: String, kind: String? = nil, lower: Int32? = nil, master: Int32? = nil,
        noARP: Bool = false
    ) -> Link {
        Link(
            index: index, name: name, kind: kind, mtu: 1500, isUp: true, hasCarrier: true, isLoopback: false,
            hardwareType: 1, address: MACAddress([2, 0, 0, 0, 0, UInt8(index)]), master: master, lower: lower, tag: nil,
            filtersVLANs: false, noARP: noARP, transmitErrors: 0, transmitDropped: 0)
    }

    private static let eth0 = link(1, "eth0")
    private static let eth1 = link(2, "eth1")

    private func watched(_ taken: String, among links: Link...) throws -> [String] {
        let tree = LinkTree(links)
        let ingress = try Ingress(try #require(tree.link(named: taken)), in: tree)
        return Elsewhere.links([ingress], in: tree).map(\.name)
    }

    @Test(
        "the device below the director's own gets no stray program",
        arguments: ["macvlan", "macvtap", "ipvlan", "ipvtap"])
    func theDeviceBelowTheDirectorsIsLeftAlone(kind: String) throws {
        let mac0 = Self.link(5, "mac0", kind: kind, lower: 1)
        #expect(try watched("mac0", among: Self.eth0, Self.eth1, mac0) == ["eth1"])
        #expect(try watched("eth0", among: Self.eth0, Self.eth1, mac0) == ["eth1"])
        let vlan = Self.link(6, "mac0.7", kind: "vlan", lower: 5)
        #expect(try watched("mac0.7", among: Self.eth0, Self.eth1, mac0, vlan) == ["eth1"])
        // Another device on the same interface has its own frames.
        let other = Self.link(7, "mac1", kind: kind, lower: 1)
        #expect(try watched("mac0", among: Self.eth0, Self.eth1, mac0, other) == ["eth1", "mac1"])
        let bridge = Self.link(8, "br0", kind: "bridge")
        let port = Self.link(9, "port", kind: kind, lower: 1, master: 8)
        #expect(try watched("br0", among: Self.eth0, Self.eth1, bridge, port) == ["eth1"])
    }

    private func silent(vipOn holders: Int32..., watched: [Link]) -> [Int32: Bool] {
        let places = Elsewhere.places(
            watched, vips: [Self.vip], isOurs: false,
            addresses: holders.map { InterfaceAddress(interface: $0, address: Self.vip, prefixLength: 32) }
        ) { _ in true }
        return Dictionary(uniqueKeysWithValues: places.map { ($0.key.interface, $0.value) })
    }

    @Test("ARP for a VIP on a watched interface is answered") func theVIPOnAWatchedInterfaceIsAnsweredFor() {
        let eth2 = Self.link(4, "eth2")
        #expect(silent(vipOn: 1, watched: [Self.eth1, eth2]) == [2: true, 4: true])
        #expect(silent(vipOn: 2, watched: [Self.eth1, eth2]) == [2: false, 4: false])
        #expect(silent(vipOn: 3, watched: [Self.eth1]) == [2: true], "a dummy answers nobody")
        #expect(silent(watched: [Self.eth1]) == [:], "a router between others")
    }

    @Test("a macvlan is the director's while it or its interface has a VIP")
    func aMacvlanIsTheDirectorsWhileAVIPIsThereOrBelow() throws {
        let mac0 = Self.link(5, "mac0", kind: "macvlan", lower: 1)
        let tree = LinkTree([Self.eth0, Self.eth1, mac0])
        let own = try #require(Self.eth0.address)
        let other = try #require(mac0.address)
        func macs(_ holders: Set<Int32>?) -> OwnMACs { OwnMACs(of: [Self.eth0], in: tree, holders: holders) }
        for holders: Set<Int32>? in [[5], [1], nil] {
            #expect(macs(holders).own == [own, other])
            #expect(macs(holders).idle.isEmpty)
        }
        for holders: Set<Int32>? in [[], [2]] { #expect(macs(holders).own == [own] && macs(holders).idle == [other]) }
    }
}
