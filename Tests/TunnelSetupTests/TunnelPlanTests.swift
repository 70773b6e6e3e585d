import Addresses
import HostState
import Testing

@testable import Netlink
@testable import TunnelSetup

/// The plan for a wanted tunnel. Tests/KernelLab/tunnel.test.sh tests the kernel's ipip.
struct TunnelPlanTests {
    private let local = IPv4Address(0xC000_0201)  // 192.0.2.1
    private let remote = IPv4Address(0xC633_6401)  // 198.51.100.1
    private let own = IPAddress(0x0AFF_0001)  // 10.255.0.1
    private let peer = IPAddress(0x0AFF_0002)

    private func link(_ name: String, kind: String, index: Int32, isUp: Bool = true) throws -> Link {
        let message = Link.createRequest(name: name, kind: kind).finished(sequence: 1)
        var link = try #require(Message.split(message).compactMap(Link.init).first)
        link.index = index
        link.isUp = isUp
        return link
    }

    /// Returns the plan of a machine with a LAN that has the tunnel's local end.
    private func plan(
        _ wanted: PointToPoint, links: [Link] = [], tunnels: [Tunnel] = [], addresses: [InterfaceAddress] = [],
        hasModule: Bool = true
    ) throws -> Plan {
        try Planner(
            desired: wanted, links: links, tunnels: tunnels,
            addresses: addresses + [InterfaceAddress(interface: 2, address: .v4(local), prefixLength: 24)],
            hasModule: hasModule
        ).plan()
    }

    private func tunnel(isUp: Bool = true, ttl: UInt8 = 0, remote: IPv4Address? = nil) -> Tunnel {
        Tunnel(
            interface: 4, name: "t1", kind: "ipip", isUp: isUp, local: local, remote: remote ?? self.remote, ttl: ttl)
    }

    @Test("a new tunnel gets module, device, address and state")
    func aNewTunnel() throws {
        let address = PointToPoint.Address(own: own, peer: peer)
        let wanted = PointToPoint(
            name: "t1", local: local, remote: remote, ttl: 64, mtu: 1400, address: address)
        let plan = try plan(wanted, hasModule: false)
        #expect(
            plan.steps.map(\.description) == [
                "load kernel module ipip",
                "create ipip device t1 local 192.0.2.1 remote 198.51.100.1 ttl 64 mtu 1400",
                "add address 10.255.0.1 peer 10.255.0.2/32 to t1", "set t1 up",
            ])
        #expect(plan.notes.isEmpty)
    }

    @Test("a tunnel that is as wanted stays")
    func whatIsThereStays() throws {
        let links = [try link("t1", kind: "ipip", index: 4)]
        let plain = PointToPoint(name: "t1", local: local, remote: remote)
        #expect(try plan(plain, links: links, tunnels: [tunnel()]).steps.isEmpty)
        // The wanted tunnel has neither TTL nor address, so these are not compared.
        let others = [InterfaceAddress(interface: 4, address: own, prefixLength: 30)]
        #expect(try plan(plain, links: links, tunnels: [tunnel(ttl: 64)], addresses: others).steps.isEmpty)
    }

    @Test("a missing address and state are added")
    func whatIsMissingIsAdded() throws {
        let links = [try link("t1", kind: "ipip", index: 4, isUp: false)]
        let address = PointToPoint.Address(own: own, prefixLength: 30)
        let wanted = PointToPoint(name: "t1", local: local, remote: remote, address: address)
        #expect(
            try plan(wanted, links: links, tunnels: [tunnel(isUp: false)]).steps.map(\.description) == [
                "add address 10.255.0.1/30 to t1", "set t1 up",
            ])
    }

    @Test("an error names the differences of a tunnel")
    func differencesAreNamed() throws {
        func error(_ wanted: PointToPoint, _ tunnel: Tunnel, addresses: [InterfaceAddress] = []) throws -> String {
            let links = [try link("t1", kind: "ipip", index: 4)]
            let error = #expect(throws: TunnelError.self) {
                try plan(wanted, links: links, tunnels: [tunnel], addresses: addresses)
            }
            return error?.description ?? ""
        }
        #expect(
            try error(
                PointToPoint(name: "t1", local: local, remote: IPv4Address(0x0AFF_0002), ttl: 64, mtu: 1400), tunnel())
                == "t1 is there with other values: remote 198.51.100.1, not 10.255.0.2, ttl inherit, not 64, mtu 1480, "
                + "not 1400 ('ipvsd tunnel delete t1' removes it)")
        let address = PointToPoint.Address(own: own, peer: peer)
        let wanted = PointToPoint(name: "t1", local: local, remote: remote, address: address)
        #expect(
            try error(
                wanted, tunnel(), addresses: [InterfaceAddress(interface: 4, address: own, prefixLength: 32)])
                == "t1 is there, with the address 10.255.0.1/32, not 10.255.0.1 peer 10.255.0.2/32")
    }

    @Test("a name or a pair of ends that another device has is refused")
    func takenNamesAndEnds() throws {
        let wanted = PointToPoint(name: "t1", local: local, remote: remote)
        let veth = [try link("t1", kind: "veth", index: 4)]
        #expect(throws: TunnelError.taken("t1 is there, and is no IPIP tunnel, but veth")) {
            try plan(wanted, links: veth)
        }
        var other = tunnel()
        other.name = "t2"
        let links = [try link("t2", kind: "ipip", index: 4)]
        #expect(throws: TunnelError.taken("t2 is a tunnel from 192.0.2.1 to 198.51.100.1 already")) {
            try plan(wanted, links: links, tunnels: [other])
        }
        // A tunnel that is bound to a device is another one to the kernel.
        other.lower = 2
        #expect(try plan(wanted, links: links, tunnels: [other]).steps.count == 2)
    }

    @Test("notes name a foreign local end and VIPs on tunl0")
    func notesTellOfSurprises() throws {
        let elsewhere = try plan(PointToPoint(name: "t1", local: IPv4Address(0x0AFF_0002), remote: remote))
        #expect(elsewhere.notes.map { $0.prefix(25) } == ["10.255.0.2 is no address o"].map { $0.prefix(25) })
        let realServer = try plan(
            PointToPoint(name: "t1", local: local, remote: remote), links: [link("tunl0", kind: "ipip", index: 3)],
            addresses: [InterfaceAddress(interface: 3, address: IPAddress(0x0A00_0064), prefixLength: 32)])
        #expect(realServer.notes.count == 1)
        #expect(realServer.notes.first?.hasPrefix("tunl0 holds 10.0.0.100: what 198.51.100.1 sends") == true)
    }
}
