public import Addresses
import LoadBalancing

/// A packet that somebody asks about: whole, in IPv4 and TCP or UDP headers of 20 and 8 bytes, but for a SYN's options.
public struct ExplainedPacket: Sendable, Hashable, Encodable {
    /// By its TCP flags.
    public enum Segment: String, Sendable, Encodable, CaseIterable {
        /// A first packet.
        case syn
        /// A packet of a connection. What its length has beyond the headers is data; so it is with those below.
        case ack
        /// With ACK.
        case fin
        case rst
    }

    public var client: IPv4Address
    public var clientPort: UInt16
    public var vip: IPv4Address
    public var port: UInt16
    public var transport: TransportProtocol
    /// Nil for UDP.
    public var segment: Segment?
    /// IP's total length, from `shortest(_:)` to 65,535.
    public var length: Int
    /// DF is not set.
    public var mayBeFragmented: Bool

    enum CodingKeys: String, CodingKey {
        case client, clientPort, vip, port, segment, length
        case transport = "protocol"
        case mayBeFragmented = "fragmentable"
    }

    public init(
        client: IPv4Address, clientPort: UInt16, vip: IPv4Address, port: UInt16, transport: TransportProtocol,
        segment: Segment = .syn, length: Int = 60, mayBeFragmented: Bool = false
    ) {
        precondition((Self.shortest(transport)...65535).contains(length), "no length of such a packet")
        self.client = client
        self.clientPort = clientPort
        self.vip = vip
        self.port = port
        self.transport = transport
        self.segment = transport == .tcp ? segment : nil
        self.length = length
        self.mayBeFragmented = mayBeFragmented
    }

    /// The headers alone.
    public static func shortest(_ transport: TransportProtocol) -> Int { transport == .tcp ? 40 : 28 }
}
