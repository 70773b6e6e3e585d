public import Addresses
public import Netlink
public import RealServerSetup

/// All that a real server's diagnosis goes by, gathered once.
public struct RealServerFacts: Sendable {
    public var vips: [IPAddress] = []
    /// All that realserver-setup has put here, those of `vips` that it knows among them.
    public var ownVIPs: [IPAddress] = []
    /// That the operator named; nil: unknown.
    public var director: IPAddress?
    public var outerSources: IPPrefix?
    public var port: UInt16?
    /// False: clients' MSS is none of our business.
    public var wantsMSS = true

    /// Without the director's own devices.
    public var links: [Link] = []
    public var addresses: [InterfaceAddress] = []
    /// Of all tables.
    public var routes: [Route] = []
    public var rules: [Rule] = []
    /// That lower the MSS; nil where there are none.
    public var segmentRules: SegmentRules?
    /// VIPs for which a program lowers it instead, by interface.
    public var segmentPrograms: [String: Set<IPAddress>] = [:]
    public var tunnels: [Tunnel] = []
    /// Ethernet interfaces on which the program that unwraps is, for the tunl0 that is there.
    public var programs: Set<String> = []
    /// Interfaces on which realserver-setup was to have tunnelled packets unwrapped; empty: every one.
    public var ingress: Set<String> = []
    /// The kernel's ipip is loaded, built in or to be loaded.
    public var hasModule = true
    /// net.ipv4.icmp_echo_ignore_all
    public var ignoresEcho = false
    /// By key: "all/rp_filter", "tunl0/forwarding".
    public var sysctls: [String: Int] = [:]

    /// Who answers ARP for each VIP, by the interface on whose subnet it is.
    public var vipOwners: [VIPOwners] = []
    public var directorMACs: Set<MACAddress> = []
    /// Hosts that tunnel to this one: directors. Looked for where a stranger answers for a VIP.
    public var tunnellers: Set<MACAddress> = []
    /// Nil: not asked.
    public var directorAnswers: Bool?
    /// How large a packet toward the director may be by the own interface and routes; nil: not asked, or no small one is
    /// answered.
    public var pathMTU: (size: Int, isAnswered: Bool)?
    /// The way to the director and to outer sources; nil where there is none.
    public var wayToDirector: ResolvedRoute?
    public var wayToOuterSources: ResolvedRoute?
    /// Addresses whose way could not be looked at.
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

    /// On which tunnelled packets come in, and ARP is spoken.
    var lan: [Link] {
        links.filter { link in link.isEthernet && link.isUp && addresses.contains { $0.interface == link.index } }
    }

    /// The packets are unwrapped by the program, before the host's own filters see them.
    var usesStandIn: Bool { tunnel?.kind == "tun" }

    func name(_ interface: Int32) -> String { links.first { $0.index == interface }?.name ?? "interface \(interface)" }

    /// The larger of all's and the interface's, as the kernel takes it (IN_DEV_MAXCONF).
    func larger(_ name: String, of interface: String) -> Int {
        max(sysctls["all/\(name)"] ?? 0, sysctls["\(interface)/\(name)"] ?? 0)
    }

    /// The interface that a sender on a directly connected network would be heard on.
    func interface(toward address: IPAddress) -> Link? {
        let near = addresses.filter { entry in
            entry.prefixLength < 32 && entry.network.contains(address)
        }.max { $0.prefixLength < $1.prefixLength }
        return near.flatMap { entry in lan.first { $0.index == entry.interface } }
    }
}

extension InterfaceAddress {
    /// All addresses behind this one.
    var network: ClosedRange<IPAddress> {
        Firewall.range(address, length: Int(prefixLength)) ?? address...address
    }
}
