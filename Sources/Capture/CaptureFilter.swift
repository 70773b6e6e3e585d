public import Addresses
public import DataPlane
public import LoadBalancing
internal import PacketPrograms
internal import XDPDataPlane

/// Which packets are captured: those that fit all that is said. It is the packet programs that look.
public struct CaptureFilter: Sendable {
    public enum Direction: String, Sendable, CaseIterable {
        /// As they come in.
        case `in`
        /// As they leave: encapsulated, or the director's answers.
        case out
        case both
    }

    /// Also the client of the connection that an ICMP error is about.
    public var client: IPPrefix?
    public var clientPort: UInt16?
    /// With its port and protocol, where it has one.
    public var vip: ServiceAddress?
    /// Those that are forwarded to it.
    public var server: IPAddress?
    /// Those that counted one of these; all, where there is none.
    public var counters: Set<PacketCounter> = []
    public var direction = Direction.both
    /// Bytes of a frame that are kept.
    public var snaplen = Self.maximumSnaplen

    public static let maximumSnaplen = Int(IPVSD_CAPTURE_SNAPLEN)

    public init() {}
}

extension CaptureFilter {
    /// `serverIsLocal`: it is the director itself. IPv6, of which no packet is captured, is refused.
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
