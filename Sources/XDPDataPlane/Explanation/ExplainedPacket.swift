public import Addresses
import LoadBalancing

/// A packet that is to be explained. It is whole, with an IPv4 header of 20 bytes, and a TCP or UDP header of 20 or 8
/// bytes. A SYN may have options.
public struct ExplainedPacket: Sendable, Hashable, Encodable {
    /// The kind of a TCP packet, by its flags.
    public enum Segment: String, Sendable, Encodable, CaseIterable {
        /// The first packet of a connection.
        case syn
        /// A later packet of a connection. Bytes beyond its headers are data, as for the kinds below.
        case ack
        /// A FIN with ACK.
        case fin
        case rst
    }

    public var client: IPv4Address
    public var clientPort: UInt16
    public var vip: IPv4Address
    public var port: UInt16
    public var transport: TransportProtocol
    /// The kind of TCP packet; nil for UDP.
    public var segment: Segment?
    /// The packet's length with the IP header in bytes, from `shortest(_:)` to 65,535.
    public var length: Int
    /// Whether DF is clear.
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

    /// Returns the length of the IP header and the transport header alone.
    public static func shortest(_ transport: TransportProtocol) -> Int { transport == .tcp ? 40 : 28 }
}
