/// An Ethernet address (EUI-48).
public struct MACAddress: Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    /// The six octets as a number. The first octet on the wire is the most significant one, and the upper 16 bits are
    /// zero.
    private let value: UInt64

    /// Creates an address from six bytes in wire order. Returns nil for another count.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == 6 else { return nil }
        value = bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Reads six octets of two hexadecimal digits each, with colons between them. Returns nil for other texts.
    public init?(_ text: String) {
        let octets = text.split(separator: ":", omittingEmptySubsequences: false)
        let bytes = octets.compactMap { $0.count == 2 ? UInt8($0, radix: 16) : nil }
        guard octets.count == bytes.count else { return nil }
        self.init(bytes)
    }

    private init(value: UInt64) { self.value = value }

    /// The address 00:00:00:00:00:00, which no device has.
    public static let zero = MACAddress(value: 0)

    /// The six octets in wire order.
    public var bytes: [UInt8] { (0..<6).map { UInt8(truncatingIfNeeded: value >> (40 - 8 * $0)) } }

    /// The text, such as "02:fc:00:00:00:01".
    public var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
    }
}
