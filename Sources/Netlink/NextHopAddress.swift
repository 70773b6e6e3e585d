public import Addresses
internal import CLibMNL
import Glibc

/// The address of the neighbour that IPv4 packets go to next: a real server, or a gateway, which may have an IPv6 address
/// alone (RFC 5549).
public enum NextHopAddress: Sendable, Hashable, CustomStringConvertible {
    case v4(IPv4Address)
    case v6(IPv6Address)

    public var description: String {
        switch self {
        case .v4(let address): "\(address)"
        case .v6(let address): "\(address)"
        }
    }

    var family: UInt8 {
        switch self {
        case .v4: UInt8(AF_INET)
        case .v6: UInt8(AF_INET6)
        }
    }

    /// The address in network byte order.
    var bytes: [UInt8] {
        switch self {
        case .v4(let address): withUnsafeBytes(of: address.bigEndian) { Array($0) }
        case .v6(let address): address.bytes
        }
    }

    init?(family: UInt8, _ payload: Payload) {
        switch Int32(family) {
        case AF_INET:
            guard let address = payload.address else { return nil }
            self = .v4(address)
        case AF_INET6:
            guard let address = IPv6Address(Array(payload.bytes)) else { return nil }
            self = .v6(address)
        default: return nil
        }
    }

    /// Reads RTA_VIA (`rtvia`): the family in host byte order, then the address.
    init?(via payload: Payload) {
        guard let family = payload.u16.flatMap(UInt8.init(exactly:)) else { return nil }
        self.init(family: family, Payload(payload.bytes.dropFirst(MemoryLayout<UInt16>.size)))
    }
}

/// Coded as text: journals have always had IPv4 addresses so.
extension NextHopAddress: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        if let address = IPv4Address(text) {
            self = .v4(address)
        } else if let address = IPv6Address(text) {
            self = .v6(address)
        } else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(text) is no address")
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// An IPv6 address.
public struct IPv6Address: Sendable, Hashable, LosslessStringConvertible {
    /// The 16 bytes in network byte order.
    let bytes: [UInt8]

    init?(_ bytes: [UInt8]) {
        guard bytes.count == 16 else { return nil }
        self.bytes = bytes
    }

    public init?(_ description: String) {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard inet_pton(AF_INET6, description, &bytes) == 1 else { return nil }
        self.bytes = bytes
    }

    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        inet_ntop(AF_INET6, bytes, &text, socklen_t(text.count))
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
