import LoadBalancing
import Netlink
import Testing

@testable import Doctor

/// Faults that need the kernel's ipip or another host: the others are planted in Tests/Namespaces/doctor.test.sh.
struct RealServerDiagnosisTests {
    private let vip = IPv4Address(0x0A00_0064)
    private let director = IPv4Address(0x0A00_0002)

    @Test func nothingAtAllIsNoRealServer() {
        var facts = RealServerFacts()
        facts.vips = [vip]
        facts.hasModule = false
        let faults = Set(facts.findings().map(\.fault))
        #expect(faults.isSuperset(of: [.interfaceMissing, .tunnelMissing, .moduleMissing, .vipMissing, .noRouteBack]))
    }

    @Test func aSecondTunnelClaimsByItsEnds() {
        func faults(_ tunnel: Tunnel, filter: Int = 1) -> [Fault] {
            var facts = RealServerFacts()
            facts.sysctls["ipip1/rp_filter"] = filter
            facts.director = director
            facts.addresses = [InterfaceAddress(interface: 2, address: IPv4Address(0x0A00_000B), prefixLength: 24)]
            facts.tunnels = [Tunnel(interface: 3, name: "tunl0", kind: "ipip", isUp: true), tunnel]
            return facts.secondTunnelFindings().map(\.fault)
        }
        func tunnel(up: Bool = true, local: UInt32? = nil, remote: IPv4Address? = nil) -> Tunnel {
            Tunnel(
                interface: 4, name: "ipip1", kind: "ipip", isUp: up, local: local.map { IPv4Address($0) },
                remote: remote)
        }
        #expect(faults(tunnel(remote: director)) == [.secondTunnel])
        #expect(faults(tunnel(local: 0x0A00_000B, remote: director)) == [.secondTunnel])
        #expect(faults(tunnel(local: 0x0A00_000B)) == [.secondTunnel])
        #expect(faults(tunnel(local: 0x0A00_0009, remote: director)).isEmpty)
        #expect(faults(tunnel(remote: vip)).isEmpty)
        // What it unwraps reaches the VIP all the same.
        #expect(faults(tunnel(remote: director), filter: 0).isEmpty)
        #expect(faults(tunnel(remote: director), filter: 2).isEmpty)
        #expect(faults(tunnel(up: false, remote: director)).isEmpty)
    }

    @Test func oneOwnerOfTheVIPIsTheDirector() {
        let own = MACAddress([2, 0, 0, 0, 0, 2])!
        let other = MACAddress([2, 0, 0, 0, 0, 3])!
        let router = MACAddress([0, 0, 0x5e, 0, 1, 51])!
        func faults(
            _ owners: [MACAddress], director: Set<MACAddress>, tunnellers: Set<MACAddress> = []
        ) -> [Fault] {
            var facts = RealServerFacts()
            facts.vipOwners = [.init(vip: vip, interface: "eth0", macs: owners)]
            facts.directorMACs = director
            facts.tunnellers = tunnellers
            return facts.arpFindings().map(\.fault)
        }
        #expect(faults([], director: []).isEmpty)
        #expect(faults([own], director: []).isEmpty)
        #expect(faults([own], director: [own]).isEmpty)
        #expect(faults([other], director: [own]) == [.vipAnswered])
        #expect(faults([own, other], director: []) == [.vipAnswered])
        // The director that was named stands by for another one.
        #expect(faults([other], director: [own], tunnellers: [other]).isEmpty)
        #expect(faults([router], director: [own]).isEmpty)
        // Two that are active are one too many.
        #expect(faults([own, other], director: [own], tunnellers: [own, other]) == [.vipAnswered])
        #expect(faults([own, router], director: [own]) == [.vipAnswered])
    }
}
