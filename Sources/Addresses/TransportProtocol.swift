/// The transport protocols that a virtual service can name.
public enum TransportProtocol: String, Sendable, Codable, CaseIterable {
    case tcp
    case udp

    /// The value of the IPv4 header's protocol field (IANA's assigned Internet protocol numbers).
    public var number: UInt8 {
        switch self {
        case .tcp: 6
        case .udp: 17
        }
    }
}
