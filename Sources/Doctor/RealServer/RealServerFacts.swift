public import Addresses
public import Netlink
public import RealServerSetup

/// The facts of a real server's diagnosis.
public struct RealServerFacts: Sendable {
    /// The VIPs that the diagnosis is about.
    public var vips: [IPAddress] = []
    /// All VIPs that realserver-setup has set up, also the ones that are not in `vips`.
    public var ownVIPs: [IPAddress] = []
    /// The director that the operator named. Nil: none was named.
    public var director: IPAddress?
    /// The network of the outer sources of tunnelled packets. Nil: none was named.
    public var outerSources: IPPrefix?
    /// The service's port. Nil: none was named.
    public var port: UInt16?
    /// Whether the MSS in answers is to be checked.
    public var wantsMSS = true

    /// All links except for a director's own devices.
    public var links: [Link] = []
    public var addresses: [InterfaceAddress] = []
    /// The routes of all tables.
    public var routes: [Route] = []
    public var rules: [Rule] = []
    /// The rules of nftables that lower the MSS. Nil: there are none.
    public var segmentRules: SegmentRules?
    /// The VIPs for which a program lowers the MSS instead, by interface.
    public var segmentPrograms: [String: Set<IPAddress>] = [:]
    public var tunnels: [Tunnel] = []
    /// The Ethernet interfaces with the program that decapsulates for the present tunl0.
    public var programs: Set<String> = []
    /// The interfaces that realserver-setup was given for tunnelled packets. Empty: all.
    public var ingress: Set<String> = []
    /// Whether the kernel's ipip is loaded, built in or found by modprobe.
    public var hasModule = true
    /// Whether net.ipv4.icmp_echo_ignore_all is on.
    public var ignoresEcho = false
    /// The kernel parameters by keys such as "all/rp_filter" and "tunl0/forwarding".
    public var sysctls: [String: Int] = [:]

    /// The hosts that answer ARP for each VIP, on the interface of its subnet.
    public var vipOwners: [VIPOwners] = []
    /// The MAC addresses that answer ARP for the director.
    public var directorMACs: Set<MACAddress> = []
    /// The hosts that send IPIP to this one, which are directors. The doctor watches for them if an unknown host
    /// answers ARP for a VIP.
    public var tunnellers: Set<MACAddress> = []
    /// Whether the director answers ARP or echo requests. Nil: that is not known.
    public var directorAnswers: Bool?
    /// The largest packet to the director by interface and route, and whether an echo request of that size is answered.
    /// Nil: no such request was sent, as the director does not answer a small one.
    public var pathMTU: (size: Int, isAnswered: Bool)?
    /// The route to the director. Nil: there is none.
    public var wayToDirector: ResolvedRoute?
    /// The route to the outer sources. Nil: there is none.
    public var wayToOuterSources: ResolvedRoute?
    /// Addresses whose route could not be read.
    public var unseenWays: Set<IPAddress> = []

    public var firewalls: [Firewall] = []
    public var sockets: [ListeningSocket] = []
    public var networkd = Networkd()

    public struct VIPOwners: Sendable {
        public var vip: IPAddress
        public var interface: String
        public var macs: [MACAddress]
    }

    public init() {}
}

extension RealServerFacts {
    static let device = "tunl0"

    var tunnel: Link? { links.first { $0.name == Self.device } }

    /// The Ethernet interfaces that are up and have an IPv4 address.
    var lan: [Link] {
        links.filter { link in link.isEthernet && link.isUp && addresses.contains { $0.interface == link.index } }
    }

    /// Whether a program decapsulates, so that the host's own filters do not see the outer packets.
    var usesStandIn: Bool { tunnel?.kind == "tun" }

    func name(_ interface: Int32) -> String { links.first { $0.index == interface }?.name ?? "interface \(interface)" }

    /// Returns the value that is in force: the larger of the values of "all" and the interface (IN_DEV_MAXCONF).
    func larger(_ name: String, of interface: String) -> Int {
        max(sysctls["all/\(name)"] ?? 0, sysctls["\(interface)/\(name)"] ?? 0)
    }

    /// Returns the Ethernet interface of the directly connected network that has the address. Nil: there is none.
    func interface(toward address: IPAddress) -> Link? {
        let near = addresses.filter { entry in
            entry.prefixLength < 32 && entry.network.contains(address)
        }.max { $0.prefixLength < $1.prefixLength }
        return near.flatMap { entry in lan.first { $0.index == entry.interface } }
    }
}

extension InterfaceAddress {
    /// The addresses of the interface address's subnet.
    var network: ClosedRange<IPAddress> {
        Firewall.range(address, length: Int(prefixLength)) ?? address...address
    }
}
