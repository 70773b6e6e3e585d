public import Addresses

/// The address of a service for its clients: a virtual IP with one port of one protocol, or with all ports of both.
///
/// Port and transport are both set or both nil. A pair of nil is an any-port service, which takes all traffic of its
/// VIP that no service with a port takes.
public struct ServiceAddress: Hashable, Sendable, Codable, CustomStringConvertible {
    public var vip: IPAddress
    /// The port, 1 to 65,535, in host byte order.
    public let port: UInt16?
    public let transport: TransportProtocol?

    /// Creates the address of an any-port service.
    public init(vip: IPAddress) {
        self.vip = vip
        self.port = nil
        self.transport = nil
    }

    public init(vip: IPAddress, port: UInt16, transport: TransportProtocol) {
        precondition(port != 0, "port 0 is no port")
        self.vip = vip
        self.port = port
        self.transport = transport
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let vip = try container.decode(IPAddress.self, forKey: .vip)
        let port = try container.decodeIfPresent(UInt16.self, forKey: .port)
        let transport = try container.decodeIfPresent(TransportProtocol.self, forKey: .transport)
        switch (port, transport) {
        case (nil, nil):
            self.init(vip: vip)
        case (let port?, let transport?) where port != 0:
            self.init(vip: vip, port: port, transport: transport)
        default:
            throw DecodingError.dataCorruptedError(
                forKey: .port, in: container, debugDescription: "a port from 1 to 65535 and a transport, or neither")
        }
    }

    public var isAnyPort: Bool { port == nil }

    /// The address as in a director's configuration: `10.0.0.100` or `10.0.0.100:80/tcp`. With a port, IPv6 is in
    /// brackets.
    public var description: String {
        guard let port, let transport else { return vip.description }
        return "\(vip.family == .v6 ? "[\(vip)]" : "\(vip)"):\(port)/\(transport.rawValue)"
    }
}
