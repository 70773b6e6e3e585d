/// A range of addresses with a common beginning, as `172.16.0.0/16`.
public struct IPv4Prefix: Hashable, Sendable {
    /// Its first address.
    public let address: IPv4Address
    /// 0 to 32
    public let length: Int

    /// Nil where the address has bits behind the prefix.
    public init?(_ address: IPv4Address, length: Int) {
        guard (0...32).contains(length) else { return nil }
        self.address = address
        self.length = length
        guard address.value & hostMask == 0 else { return nil }
    }

    /// The bits in which its addresses differ, in host byte order.
    public var hostMask: UInt32 { length == 32 ? 0 : .max >> UInt32(length) }

    public func contains(_ other: IPv4Address) -> Bool { other.value & ~hostMask == address.value }
}

extension IPv4Prefix: CustomStringConvertible {
    public var description: String { "\(address)/\(length)" }
}
