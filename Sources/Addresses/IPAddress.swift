/// An address of either family. An IPv4-mapped IPv6 address is an IPv6 address.
public enum IPAddress: Hashable, Sendable, BitwiseCopyable {
    case v4(IPv4Address)
    case v6(IPv6Address)

    /// The families, with the names that messages use.
    public enum Family: String, Sendable {
        case v4 = "IPv4"
        case v6 = "IPv6"

        /// 32 or 128
        public var bitWidth: Int { self == .v4 ? 32 : 128 }
    }

    public init(_ address: IPv4Address) { self = .v4(address) }

    public init(_ address: IPv6Address) { self = .v6(address) }

    /// The IPv4 address of a number in host byte order: 10.0.0.1 is 0x0A000001.
    public init(_ ipv4: UInt32) { self = .v4(IPv4Address(ipv4)) }

    /// 0.0.0.0 or ::
    public static func unspecified(_ family: Family) -> IPAddress {
        switch family {
        case .v4: .v4(IPv4Address(0))
        case .v6: .v6(IPv6Address(high: 0, low: 0))
        }
    }

    /// Four or sixteen bytes in wire order; nil for another count.
    public init?(bytes: some Collection<UInt8>) {
        if bytes.count == 4 {
            self = .v4(IPv4Address(bytes.reduce(0) { $0 << 8 | UInt32($1) }))
        } else if let address = IPv6Address(bytes: bytes) {
            self = .v6(address)
        } else {
            return nil
        }
    }

    /// Four or sixteen bytes in wire order.
    public var bytes: [UInt8] {
        switch self {
        case .v4(let address): withUnsafeBytes(of: address.bigEndian) { Array($0) }
        case .v6(let address): address.bytes
        }
    }

    public var family: Family {
        switch self {
        case .v4: .v4
        case .v6: .v6
        }
    }

    /// Nil for an IPv6 address.
    public var v4: IPv4Address? {
        if case .v4(let address) = self { address } else { nil }
    }

    /// Nil for an IPv4 address.
    public var v6: IPv6Address? {
        if case .v6(let address) = self { address } else { nil }
    }

    /// Whether a packet can be sent to it on a network.
    public var isUnicast: Bool {
        switch self {
        case .v4(let address): address.isUnicast
        case .v6(let address): address.isUnicast
        }
    }

    /// 0.0.0.0 or ::
    public var isUnspecified: Bool {
        switch self {
        case .v4(let address): address.value == 0
        case .v6(let address): (address.high, address.low) == (0, 0)
        }
    }

    /// 127.0.0.0/8 or ::1
    public var isLoopback: Bool {
        switch self {
        case .v4(let address): address.value >> 24 == 127
        case .v6(let address): (address.high, address.low) == (0, 1)
        }
    }
}

extension IPAddress: LosslessStringConvertible {
    /// As `IPv4Address` and `IPv6Address` read it.
    public init?(_ description: String) {
        if let address = IPv4Address(description) {
            self = .v4(address)
        } else if let address = IPv6Address(description) {
            self = .v6(address)
        } else {
            return nil
        }
    }

    public var description: String {
        switch self {
        case .v4(let address): address.description
        case .v6(let address): address.description
        }
    }
}

extension IPAddress: Comparable {
    /// IPv4 before IPv6, and by number within a family.
    public static func < (one: IPAddress, other: IPAddress) -> Bool {
        switch (one, other) {
        case (.v4(let one), .v4(let other)): one < other
        case (.v6(let one), .v6(let other)): one < other
        case (.v4, .v6): true
        case (.v6, .v4): false
        }
    }
}

extension IPAddress: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let address = IPAddress(text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(text) is no IP address")
        }
        self = address
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// An address of a family that what it was given to does not handle.
public struct WrongFamily: Error, Hashable, CustomStringConvertible {
    public let address: IPAddress
    public let accepted: IPAddress.Family

    public init(_ address: IPAddress, accepted: IPAddress.Family) {
        self.address = address
        self.accepted = accepted
    }

    public var description: String {
        "\(address) is an \(address.family.rawValue) address, and only \(accepted.rawValue) is accepted"
    }
}

extension IPAddress {
    /// Returns the IPv4 address, for what handles only this family: the packet programs' maps, IPIP devices. Throws for
    /// IPv6.
    public func asIPv4() throws(WrongFamily) -> IPv4Address {
        guard case .v4(let address) = self else { throw WrongFamily(self, accepted: .v4) }
        return address
    }
}
