/// A range of addresses of one family with a common beginning, such as `172.16.0.0/16` or `2001:db8::/32`.
public struct IPPrefix: Hashable, Sendable {
    /// The first address of the range.
    public let address: IPAddress
    /// The number of common bits: 0 to 32, or 0 to 128.
    public let length: Int

    /// Creates a prefix. Returns nil if the address has bits behind the prefix, or the family has no prefix of this
    /// length.
    public init?(_ address: IPAddress, length: Int) {
        self.init(around: address, length: length)
        guard self.address == address else { return nil }
    }

    /// Creates the prefix of this length that contains an address. Returns nil if the family has no prefix of this
    /// length.
    public init?(around address: IPAddress, length: Int) {
        guard (0...address.family.bitWidth).contains(length) else { return nil }
        self.length = length
        switch address {
        case .v4(let address): self.address = .v4(IPv4Address(address.value & ~Self.hostMask(length)))
        case .v6(let address):
            self.address = .v6(
                IPv6Address(
                    high: address.high & ~Self.hostMask(min(length, 64)),
                    low: address.low & ~Self.hostMask(max(length, 64) - 64)))
        }
    }

    public init(_ prefix: IPv4Prefix) {
        address = .v4(prefix.address)
        length = prefix.length
    }

    /// The prefix if it is IPv4, or nil.
    public var v4: IPv4Prefix? { address.v4.flatMap { IPv4Prefix($0, length: length) } }

    /// The range from the first address to the last.
    public var addresses: ClosedRange<IPAddress> {
        switch address {
        case .v4(let first): address...(.v4(IPv4Address(first.value | Self.hostMask(length))))
        case .v6(let first):
            address...(.v6(
                IPv6Address(
                    high: first.high | Self.hostMask(min(length, 64)),
                    low: first.low | Self.hostMask(max(length, 64) - 64))))
        }
    }

    public func contains(_ other: IPAddress) -> Bool { addresses.contains(other) }

    /// Returns the mask of the bits behind a prefix.
    private static func hostMask<Number: FixedWidthInteger>(_ length: Int) -> Number {
        length == Number.bitWidth ? 0 : .max >> Number(length)
    }
}

extension IPPrefix: LosslessStringConvertible {
    /// Reads an address, a slash and a length without superfluous zeros.
    public init?(_ description: String) {
        let parts = description.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPAddress(String(parts[0])), let length = UInt8(parts[1]),
            String(length) == parts[1]
        else { return nil }
        self.init(address, length: Int(length))
    }

    public var description: String { "\(address)/\(length)" }
}

/// A range of IPv4 addresses with a common beginning, such as `172.16.0.0/16`.
public struct IPv4Prefix: Hashable, Sendable {
    /// The first address of the range.
    public let address: IPv4Address
    /// The number of common bits: 0 to 32.
    public let length: Int

    /// Creates a prefix. Returns nil if the address has bits behind the prefix.
    public init?(_ address: IPv4Address, length: Int) {
        guard (0...32).contains(length) else { return nil }
        self.address = address
        self.length = length
        guard address.value & hostMask == 0 else { return nil }
    }

    /// The mask of the bits behind the prefix, in host byte order.
    public var hostMask: UInt32 { length == 32 ? 0 : .max >> UInt32(length) }

    public func contains(_ other: IPv4Address) -> Bool { other.value & ~hostMask == address.value }
}

extension IPv4Prefix: CustomStringConvertible {
    public var description: String { "\(address)/\(length)" }
}
