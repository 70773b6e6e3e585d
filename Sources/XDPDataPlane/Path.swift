public import Addresses
import LoadBalancing
public import Netlink
internal import PacketPrograms

/// A way to a real server, as routes and neighbours say.
public struct Path: Sendable, Hashable {
    public var source: IPv4Address
    public var destination: IPv4Address
    /// The interface by which frames leave: the device below a VLAN device, or a port of a bridge.
    public var interface: Int32
    /// The interface that the route names, such as a VLAN device or a bridge. The kernel's own packets leave by it.
    public var routeInterface: Int32
    /// The VLAN tags, the outermost first, at most two.
    public var tags: [VLANTag]
    public var sourceMAC: MACAddress
    /// The next hop's MAC address; nil while the next hop has not answered, and for a local path.
    public var nextHopMAC: MACAddress?
    /// The size limit of the outer packet, in bytes.
    public var mtu: UInt32
    /// Whether a packet that came in by `interface` leaves by XDP_TX. All others leave by redirect.
    public var transmits: Bool
    /// Whether the real server is the director itself. Packets then go up its own stack as they came.
    public private(set) var isLocal = false

    public static let maximumTags = 2

    public init(
        source: IPv4Address, destination: IPv4Address, interface: Int32, routeInterface: Int32? = nil,
        tags: [VLANTag] = [], sourceMAC: MACAddress, nextHopMAC: MACAddress?, mtu: UInt32, transmits: Bool
    ) {
        precondition(tags.count <= Self.maximumTags, "at most \(Self.maximumTags) tags")
        self.source = source
        self.destination = destination
        self.interface = interface
        self.routeInterface = routeInterface ?? interface
        self.tags = tags
        self.sourceMAC = sourceMAC
        self.nextHopMAC = nextHopMAC
        self.mtu = mtu
        self.transmits = transmits
    }

    /// Returns the path to the director itself, by one of its own addresses.
    public static func local(_ address: IPv4Address, interface: Int32) -> Path {
        var path = Path(
            source: address, destination: address, interface: interface, sourceMAC: .zero, nextHopMAC: nil,
            mtu: 65535, transmits: false)
        path.isLocal = true
        return path
    }
}

extension Path {
    /// The number of bytes of a VLAN tag, which has a protocol number and an id.
    private static let tagBytes = 4

    var row: ipvsd_next_hop {
        var row = ipvsd_next_hop()
        withUnsafeMutableBytes(of: &row.eth_addrs) {
            $0.copyBytes(from: (nextHopMAC?.bytes ?? [0, 0, 0, 0, 0, 0]) + sourceMAC.bytes)
        }
        row.ifindex = UInt32(interface)
        row.source = source.bigEndian
        row.destination = destination.bigEndian
        row.mtu = mtu
        row.flags =
            (nextHopMAC == nil ? 0 : IPVSD_NEXT_HOP_RESOLVED) | (transmits ? IPVSD_NEXT_HOP_TRANSMIT : 0)
            | (isLocal ? IPVSD_NEXT_HOP_LOCAL : 0)
        row.tags = tags.enumerated().reduce(UInt64(0)) { word, tag in
            let bytes = UInt32(tag.element.protocolID.bigEndian) | UInt32(tag.element.id.bigEndian) << 16
            return word | UInt64(bytes) << UInt64(8 * Self.tagBytes * tag.offset)
        }
        row.tag_length = UInt32(Self.tagBytes * tags.count)
        row.route_ifindex = UInt32(routeInterface)
        return row
    }

    /// Reads a row; nil where it was never filled.
    init?(row: ipvsd_next_hop) {
        let bytes = withUnsafeBytes(of: row.eth_addrs) { Array($0) }
        guard row.ifindex != 0, let sourceMAC = MACAddress(Array(bytes[6...])) else { return nil }
        let tags = (0..<min(Int(row.tag_length) / Self.tagBytes, Self.maximumTags)).map { index in
            let bytes = UInt32(truncatingIfNeeded: row.tags >> UInt64(8 * Self.tagBytes * index))
            return VLANTag(
                protocolID: UInt16(bigEndian: UInt16(truncatingIfNeeded: bytes)),
                id: UInt16(bigEndian: UInt16(bytes >> 16)))
        }
        let resolved = row.flags & IPVSD_NEXT_HOP_RESOLVED != 0
        self.init(
            source: IPv4Address(bigEndian: row.source), destination: IPv4Address(bigEndian: row.destination),
            interface: Int32(row.ifindex), routeInterface: Int32(row.route_ifindex), tags: tags, sourceMAC: sourceMAC,
            nextHopMAC: resolved ? MACAddress(Array(bytes[..<6])) : nil, mtu: row.mtu,
            transmits: row.flags & IPVSD_NEXT_HOP_TRANSMIT != 0)
        isLocal = row.flags & IPVSD_NEXT_HOP_LOCAL != 0
    }
}
