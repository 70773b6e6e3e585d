/// An IPv6 address, in host byte order inside the program; `bytes` are for the edges (packets, netlink).
///
/// Two words hold it, since a UInt128 wants places that are aligned to 16 bytes: Swift 6.3 reads arguments with one inside by
/// an aligned load from a place that is aligned to 8, and the program crashes.
public struct IPv6Address: Hashable, Comparable, Sendable, BitwiseCopyable, LosslessStringConvertible {
    /// The first 64 bits, in host byte order.
    public var high: UInt64
    /// The last 64 bits, in host byte order: ::1 is 1.
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Sixteen bytes in wire order; nil for another count.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        high = bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Sixteen bytes in wire order.
    public var bytes: [UInt8] {
        [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
    }

    /// One of the forms of RFC 4291 section 2.2, without a zone: eight groups of one to four hexadecimal digits, of which
    /// `::` stands for one or more groups of zeros, and the last two may be an IPv4 address.
    public init?(_ description: String) {
        let sides = description.split(separator: "::", maxSplits: 2, omittingEmptySubsequences: false)
        var halves: [[UInt16]] = []
        for (index, side) in sides.enumerated() {
            guard let groups = Self.groups(side, mayEndInIPv4: index == sides.count - 1) else { return nil }
            halves.append(groups)
        }
        let count = halves.reduce(0) { $0 + $1.count }
        switch halves.count {
        case 1 where count == 8: break
        case 2 where count <= 7: halves.insert(Array(repeating: 0, count: 8 - count), at: 1)
        default: return nil
        }
        let all = Array(halves.joined())
        high = all.prefix(4).reduce(0) { $0 << 16 | UInt64($1) }
        low = all.suffix(4).reduce(0) { $0 << 16 | UInt64($1) }
    }

    /// The groups of one side of `::`.
    private static func groups(_ text: Substring, mayEndInIPv4: Bool) -> [UInt16]? {
        guard !text.isEmpty else { return [] }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        var groups: [UInt16] = []
        for (index, part) in parts.enumerated() {
            if mayEndInIPv4, index == parts.count - 1, let address = IPv4Address(String(part)) {
                groups += [UInt16(address.value >> 16), UInt16(truncatingIfNeeded: address.value)]
            } else {
                guard (1...4).contains(part.utf8.count), part.allSatisfy({ $0.isASCII && $0.isHexDigit }),
                    let group = UInt16(part, radix: 16)
                else { return nil }
                groups.append(group)
            }
        }
        return groups
    }

    /// The text that RFC 5952 recommends: lower case, no leading zeros, `::` for the first of the longest runs of two or
    /// more groups of zeros, and an IPv4-mapped address with its IPv4 address.
    public var description: String {
        if high == 0, low >> 32 == 0xFFFF { return "::ffff:\(IPv4Address(UInt32(truncatingIfNeeded: low)))" }
        let groups = [high, low].flatMap { word in (0..<4).map { UInt16(truncatingIfNeeded: word >> (48 - 16 * $0)) } }
        let text = { (groups: ArraySlice<UInt16>) in groups.map { String($0, radix: 16) }.joined(separator: ":") }
        let run = Self.longestRunOfZeros(groups)
        guard run.count >= 2 else { return text(groups[...]) }
        return "\(text(groups[..<run.lowerBound]))::\(text(groups[run.upperBound...]))"
    }

    private static func longestRunOfZeros(_ groups: [UInt16]) -> Range<Int> {
        var longest = 0..<0
        var start = 0
        for index in groups.indices {
            guard groups[index] == 0 else {
                start = index + 1
                continue
            }
            if index + 1 - start > longest.count { longest = start..<index + 1 }
        }
        return longest
    }

    public static func < (one: IPv6Address, other: IPv6Address) -> Bool {
        (one.high, one.low) < (other.high, other.low)
    }

    /// Whether a packet can be sent to it on a network. The unspecified address, the loopback address and multicast
    /// are not.
    public var isUnicast: Bool { (high, low) > (0, 1) && high >> 56 != 0xFF }
}
