public import Addresses
import Netlink

/// All that a director's diagnosis goes by, gathered once.
public struct DirectorFacts: Sendable {
    public struct Interface: Sendable {
        public var name: String
        /// IFLA_INFO_KIND; nil: hardware.
        public var kind: String?
        public var mtu: UInt32
        /// "native", "generic"; nil: no program.
        public var mode: String?
        /// Names of features that merge frames, and that are on.
        public var merging: [String]
        /// The same, of the devices below.
        public var mergingBelow: [String]
        /// The VRF that it is a part of.
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
        /// What the director says about it, where it is down.
        public var downReason: String?
        /// The source address of tunnelled packets to it; nil: there are none, or it is not known.
        public var source: IPAddress?
        /// The gateway, or the server itself.
        public var nextHop: IPAddress?
        /// Nil: there is no route.
        public var interface: String?
        public var isResolved: Bool
        /// False: the way could not be looked at, and is not known.
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

    /// ipvsd0 and its peer ipvsd1, by which checks enter the tunnel, and packets come that are to be fragmented.
    public struct CheckPath: Sendable {
        /// The journal names programs of checks; false: nothing is checked.
        public var carriesChecks = true
        /// Of the two devices: "ipvsd0 is missing", "ipvsd1 is down".
        public var devices: [String] = []
        /// Of what checks need besides: "no egress program is on ipvsd0".
        public var missing: [String] = []
        /// The larger of all's and ipvsd0's rp_filter, which counts.
        public var reversePathFilter = 2
        public var acceptsLocal = true
        public var forwards = true

        public init() {}
    }

    public struct Stray: Sendable {
        public var interface: String
        public var vip: IPAddress
        public var packets: UInt64
        /// When the last one came.
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
    /// Others than the director that answer ARP for a VIP, by interface. Not the one that answers where this director has no
    /// VIP, as it stands by, or announces it otherwise.
    public var vipOwners: [(vip: IPAddress, interface: String, macs: [MACAddress])] = []
    /// VIPs that the director had put on an interface, and that no interface has.
    public var missingVIPs: [(vip: IPAddress, interface: String)] = []
    /// Packets for a VIP that came in lately by an interface that the packet program is not on.
    public var strays: [Stray] = []
    /// Such interfaces without the director's tc program, which answer ARP for the VIPs.
    public var unwatchedInterfaces: [String] = []
    public var checkPath = CheckPath()
    public var vips: [IPAddress] = []
    public var firewalls: [Firewall] = []
    public var isDaemonRunning = true
    /// net.core.bpf_jit_enable; nil: not to be seen from this network namespace.
    public var jit: Int?
    public var hasBPFFilesystem = true
    /// RLIMIT_MEMLOCK, bytes; nil: none.
    public var lockedMemory: UInt64?
    /// Since 5.11 BPF's memory is accounted to the control group instead.
    public var kernel: (major: Int, minor: Int) = (6, 1)
    /// Of those that loading and attaching takes; empty for root.
    public var missingCapabilities: [String] = []
    /// kernel.unprivileged_bpf_disabled
    public var unprivilegedDisabled: Int?

    public init() {}
}
