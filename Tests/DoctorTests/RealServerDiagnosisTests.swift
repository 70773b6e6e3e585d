import Addresses
import Netlink
import Testing

@testable import Doctor

/// The faults that need the kernel's ipip or another host. Tests/Namespaces/doctor.test.sh plants the others.
struct RealServerDiagnosisTests {
    private let vip = IPAddress(0x0A00_0064)
    private let director = IPAddress(0x0A00_0002)

    @Test("an empty machine lacks all parts of a real server")
    func nothingAtAllIsNoRealServer() {
        var facts = RealServerFacts()
        facts.vips = [vip]
        facts.hasModule = false
        let faults = Set(facts.findings().map(\.fault))
        #expect(faults.isSuperset(of: [.interfaceMissing, .tunnelMissing, .moduleMissing, .vipMissing, .noRouteBack]))
    }

    @Test("a second tunnel whose ends match takes the director's packets")
    func aSecondTunnelClaimsByItsEnds() {
        func faults(_ tunnel: Tunnel, filter: Int = 1) -> [Fault] {
            var facts = RealServerFacts()
            facts.sysctls["ipip1/rp_filter"] = filter
            facts.director = director
            facts.addresses = [InterfaceAddress(interface: 2, address: IPAddress(0x0A00_000B), prefixLength: 24)]
            facts.tunnels = [Tunnel(interface: 3, name: "tunl0", kind: "ipip", isUp: true), tunnel]
            return facts.secondTunnelFindings().map(\.fault)
        }
        func tunnel(up: Bool = true, local: UInt32? = nil, remote: IPAddress? = nil) -> Tunnel {
            Tunnel(
                interface: 4, name: "ipip1", kind: "ipip", isUp: up, local: local.map { IPv4Address($0) },
                remote: remote?.v4)
        }
        #expect(faults(tunnel(remote: director)) == [.secondTunnel])
        #expect(faults(tunnel(local: 0x0A00_000B, remote: director)) == [.secondTunnel])
        #expect(faults(tunnel(local: 0x0A00_000B)) == [.secondTunnel])
        #expect(faults(tunnel(local: 0x0A00_0009, remote: director)).isEmpty)
        #expect(faults(tunnel(remote: vip)).isEmpty)
        // Its packets still reach the VIP.
        #expect(faults(tunnel(remote: director), filter: 0).isEmpty)
        #expect(faults(tunnel(remote: director), filter: 2).isEmpty)
        #expect(faults(tunnel(up: false, remote: director)).isEmpty)
    }

    private func faults(rules: String, port: UInt16? = nil, sockets: [ListeningSocket] = []) -> [Fault] {
        var facts = RealServerFacts()
        facts.vips = [vip]
        facts.port = port
        facts.sockets = sockets
        facts.firewalls = [Firewall(iptables: "*filter\n\(rules)\nCOMMIT\n")]
        return facts.firewallFindings().map(\.fault)
    }

    /// Services that no connection can be made to are checked by a ping.
    @Test("dropped pings are a fault where the check is a ping")
    func droppedPingsMatterWhereTheyAreTheCheck() {
        let rules = ":INPUT ACCEPT [0:0]\n-A INPUT -p icmp -m icmp --icmp-type 8 -j DROP"
        let tcp = ListeningSocket(address: nil, port: 53)
        let udp = ListeningSocket(address: nil, port: 53, isUDP: true)
        #expect(faults(rules: rules) == [.icmpDropped])
        #expect(faults(rules: rules, port: 53, sockets: [tcp, udp]).isEmpty)
        #expect(faults(rules: rules, port: 53, sockets: [udp]) == [.icmpDropped])
        #expect(faults(rules: rules, port: 80).isEmpty)
    }

    @Test("a filter that drops clients' packets, answers or ICMP errors is a fault")
    func everyClassOfPacketsIsAskedFor() {
        let udp = ListeningSocket(address: nil, port: 53, isUDP: true)
        let onlyTCP = ":INPUT DROP [0:0]\n-A INPUT -p icmp -j ACCEPT\n-A INPUT -p tcp -j ACCEPT"
        #expect(faults(rules: onlyTCP, port: 53).isEmpty)
        #expect(faults(rules: onlyTCP, port: 53, sockets: [udp]) == [.firewallVIP])
        // "Fragmentation needed" is neither new nor established.
        let noErrors = ":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT"
        #expect(faults(rules: noErrors, port: 80) == [.icmpDropped])
        let silent = ":OUTPUT DROP [0:0]\n-A OUTPUT -d 10.0.0.0/8 -j ACCEPT\n-A OUTPUT -p icmp -j ACCEPT"
        #expect(faults(rules: silent.replacing("-d 10.0.0.0/8", with: "-p udp"), port: 80) == [.firewallVIP])
        // The destinations of answers are not known.
        #expect(faults(rules: silent, port: 80).isEmpty)
    }

    /// Packets for a container do not pass the filter's input chain.
    @Test("a container's published port is no fault")
    func publishedPortsAreNoFault() {
        var facts = RealServerFacts()
        facts.vips = [vip]
        facts.port = 8080
        func rules(forward: String) -> String {
            """
            *nat
            :PREROUTING ACCEPT [0:0]
            -A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
            COMMIT
            *filter
            :INPUT DROP [0:0]
            :FORWARD DROP [0:0]
            -A INPUT -p icmp -j ACCEPT
            -A FORWARD \(forward) -j ACCEPT
            COMMIT
            """
        }
        facts.firewalls = [Firewall(iptables: rules(forward: "-d 172.17.0.2/32 -p tcp -m tcp --dport 80"))]
        #expect((facts.firewallFindings() + facts.serviceFindings()).isEmpty)
        facts.firewalls = [Firewall(iptables: rules(forward: "-i docker0"))]
        #expect((facts.firewallFindings() + facts.serviceFindings()).map(\.fault) == [.firewallVIP])
        facts.port = 80
        #expect(facts.serviceFindings().map(\.fault) == [.serviceNotBound])
    }

    @Test("only a director or a router may answer ARP for the VIP")
    func oneOwnerOfTheVIPIsTheDirector() {
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
        // The named director stands by for another one.
        #expect(faults([other], director: [own], tunnellers: [other]).isEmpty)
        #expect(faults([router], director: [own]).isEmpty)
        // Two active directors are a fault.
        #expect(faults([own, other], director: [own], tunnellers: [own, other]) == [.vipAnswered])
        #expect(faults([own, router], director: [own]) == [.vipAnswered])
    }
}
