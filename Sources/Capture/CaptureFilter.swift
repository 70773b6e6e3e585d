public import Addresses
public import DataPlane
public import LoadBalancing
internal import PacketPrograms
internal import XDPDataPlane

/// The conditions of a capture. A packet has to meet all of them. The capture programs test them in the kernel.
public struct CaptureFilter: Sendable {
    public enum Direction: String, Sendable, CaseIterable {
        /// Packets as they come in.
        case `in`
        /// Packets as they leave: encapsulated, or answers of the director.
        case out
        case both
    }

    /// The clients' prefix; nil: any client. An ICMP error has the client of the connection that the error is about.
    public var client: IPPrefix?
    public var clientPort: UInt16?
    /// The listener of the packet; nil: any. A listener without a port or protocol stands for every port and protocol.
    public var vip: ServiceAddress?
    /// The real server that the packet is forwarded to; nil: no condition.
    public var server: IPAddress?
    /// The counters of which at least one has counted the packet; empty: no condition.
    public var counters: Set<PacketCounter> = []
    public var direction = Direction.both
    /// The largest number of bytes of a frame that are kept.
    public var snaplen = Self.maximumSnaplen

    public static let maximumSnaplen = Int(IPVSD_CAPTURE_SNAPLEN)

    public init() {}
}

extension CaptureFilter {
    /// Returns the filter as the capture programs read it, with addresses and ports in network byte order.
    /// `serverIsLocal` says that `server` is the director itself. Throws for an IPv6 address, since the director
    /// forwards only IPv4 packets.
    func row(serverIsLocal: Bool) throws(WrongFamily) -> ipvsd_capture_filter {
        var row = ipvsd_capture_filter()
        for counter in counters { row.counters |= 1 << UInt64(counter.index) }
        if let client {
            guard let prefix = client.v4 else { throw WrongFamily(client.address, accepted: .v4) }
            row.client = prefix.address.bigEndian
            row.client_mask = (~prefix.hostMask).bigEndian
        }
        row.client_port = clientPort?.bigEndian ?? 0
        if let vip {
            row.vip = try vip.vip.asIPv4().bigEndian
            row.port = vip.port?.bigEndian ?? 0
            row.protocol = vip.transport?.number ?? 0
        }
        if let server { row.server = try server.asIPv4().bigEndian }
        row.server_is_local = serverIsLocal ? 1 : 0
        if direction != .out { row.directions |= UInt8(IPVSD_CAPTURE_IN) }
        if direction != .in { row.directions |= UInt8(IPVSD_CAPTURE_OUT) }
        row.snaplen = UInt32(snaplen)
        return row
    }
}
