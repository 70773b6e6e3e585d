public import LoadBalancing
public import Netlink
internal import PacketPrograms

/// A way to a real server, as routes and neighbours say.
public struct Path: Sendable, Hashable {
    public var source: IPv4Address
    public var destination: IPv4Address
    public var interface: Int32
    public var sourceMAC: MACAddress
    /// Nil while the next hop has not answered.
    public var nextHopMAC: MACAddress?
    /// Of the outer packet.
    public var mtu: UInt32
    /// Leaves by XDP_TX on the interface it came in; otherwise by redirect.
    public var transmits: Bool

    public init(
        source: IPv4Address, destination: IPv4Address, interface: Int32, sourceMAC: MACAddress,
        nextHopMAC: MACAddress?, mtu: UInt32, transmits: Bool
    ) {
        self.source = source
        self.destination = destination
        self.interface = interface
        self.sourceMAC = sourceMAC
        self.nextHopMAC = nextHopMAC
        self.mtu = mtu
        self.transmits = transmits
    }
}

extension Path {
    var row: ipvsd_path {
        let bytes = (nextHopMAC?.bytes ?? [0, 0, 0, 0, 0, 0]) + sourceMAC.bytes
        let words = bytes.withUnsafeBytes {
            ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
        }
        let flags = (nextHopMAC == nil ? 0 : IPVSD_PATH_RESOLVED) | (transmits ? IPVSD_PATH_TRANSMIT : 0)
        return ipvsd_path(
            mac_first8: words.0, mac_last4: words.1, ifindex: UInt32(interface), source: source.bigEndian,
            destination: destination.bigEndian, mtu: mtu, flags: flags)
    }

    /// Nil for a row that was never filled.
    init?(row: ipvsd_path) {
        let bytes = withUnsafeBytes(of: row.mac_first8) { Array($0) } + withUnsafeBytes(of: row.mac_last4) { Array($0) }
        guard row.ifindex != 0, let sourceMAC = MACAddress(Array(bytes[6...])) else { return nil }
        let resolved = row.flags & IPVSD_PATH_RESOLVED != 0
        self.init(
            source: IPv4Address(bigEndian: row.source), destination: IPv4Address(bigEndian: row.destination),
            interface: Int32(row.ifindex), sourceMAC: sourceMAC,
            nextHopMAC: resolved ? MACAddress(Array(bytes[..<6])) : nil, mtu: row.mtu,
            transmits: row.flags & IPVSD_PATH_TRANSMIT != 0)
    }
}
