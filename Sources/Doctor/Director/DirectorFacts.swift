public import Addresses
import Netlink

/// The facts of a director's diagnosis.
public struct DirectorFacts: Sendable {
    public struct Interface: Sendable {
        public var name: String
        /// The kind of device (IFLA_INFO_KIND). Nil: hardware.
        public var kind: String?
        public var mtu: UInt32
        /// The mode of the XDP program, "native" or "generic". Nil: there is no program.
        public var mode: String?
        /// The features that merge frames and are on, such as "lro of eth0".
        public var merging: [String]
        /// The same features of the devices that the interface consists of, such as the ports of a bond.
        public var mergingBelow: [String]
        /// The VRF that the interface is part of. Nil: it is in none.
        public var vrf: String?

        public init(
            name: String, kind: String? = nil, mtu: UInt32 = 1500, mode: String? = "native", merging: [String] = [],
            mergingBelow: [String] = [], vrf: String? = nil
        ) {
            self.name = name
            self.kind = kind
            self.mtu = mtu
            self.mode = mode
            self.merging = merging
            self.mergingBelow = mergingBelow
            self.vrf = vrf
        }
    }

    public struct Server: Sendable {
        public var address: IPAddress
        /// The director's reason why the real server is down. Nil: it is up.
        public var downReason: String?
        /// The source address of tunnelled packets to the real server. Nil: there are no such packets, or the source is
        /// not known.
        public var source: IPAddress?
        /// The gateway, or the real server itself.
        public var nextHop: IPAddress?
        /// The outgoing interface. Nil: there is no route.
        public var interface: String?
        /// Whether frames can be sent to the next hop.
        public var isResolved: Bool
        /// Whether the route could be read.
        public var isWayKnown: Bool

        public init(
            address: IPAddress, downReason: String? = nil, source: IPAddress? = nil,
            nextHop: IPAddress? = nil, interface: String? = "eth0", isResolved: Bool = true,
            isWayKnown: Bool = true
        ) {
            self.address = address
            self.downReason = downReason
            self.source = source
            self.nextHop = nextHop
            self.interface = interface
            self.isResolved = isResolved
            self.isWayKnown = isWayKnown
        }
    }

    /// The check path: ipvsd0 and its peer ipvsd1. Checks enter the tunnel there, and packets that are too big for the
    /// tunnel are fragmented there.
    public struct CheckPath: Sendable {
        /// Whether the journal names programs of checks. False: no real server is checked.
        public var carriesChecks = true
        /// The faults of the two devices, such as "ipvsd0 is missing" and "ipvsd1 is down".
        public var devices: [String] = []
        /// Other faults of the check path, such as "no egress program is on ipvsd0".
        public var missing: [String] = []
        /// The rp_filter that is in force on ipvsd0: the larger of the values of "all" and ipvsd0.
        public var reversePathFilter = 2
        public var acceptsLocal = true
        public var forwards = true

        public init() {}
    }

    public struct Stray: Sendable {
        public var interface: String
        public var vip: IPAddress
        public var packets: UInt64
        /// The time of the last packet, as text.
        public var last: String

        public init(interface: String, vip: IPAddress, packets: UInt64, last: String) {
            self.interface = interface
            self.vip = vip
            self.packets = packets
            self.last = last
        }
    }

    public var interfaces: [Interface] = []
    public var servers: [Server] = []
    /// Other hosts that answer ARP for a VIP, by interface. If this director does not have the VIP, a single answer is
    /// left out unless it is a real server's. It may come from another director, which is active.
    public var vipOwners: [(vip: IPAddress, interface: String, macs: [MACAddress])] = []
    /// VIPs that the director had put on an interface, and that no interface has.
    public var missingVIPs: [(vip: IPAddress, interface: String)] = []
    /// Recent packets for a VIP that came in by an interface without the packet program.
    public var strays: [Stray] = []
    /// Interfaces that answer ARP for the VIPs, and have neither the packet program nor the tc program for stray
    /// packets.
    public var unwatchedInterfaces: [String] = []
    public var checkPath = CheckPath()
    public var vips: [IPAddress] = []
    public var firewalls: [Firewall] = []
    public var isDaemonRunning = true
    /// The value of net.core.bpf_jit_enable. Nil: this network namespace does not have the parameter.
    public var jit: Int?
    public var hasBPFFilesystem = true
    /// RLIMIT_MEMLOCK in bytes. Nil: there is no limit.
    public var lockedMemory: UInt64?
    /// The kernel's version. From 5.11 on BPF's memory counts for the control group, not for RLIMIT_MEMLOCK.
    public var kernel: (major: Int, minor: Int) = (6, 1)
    /// The capabilities that loading and attaching need, and that this process lacks. Empty for root.
    public var missingCapabilities: [String] = []
    /// The value of kernel.unprivileged_bpf_disabled. Nil: the kernel does not have the parameter.
    public var unprivilegedDisabled: Int?

    public init() {}
}
