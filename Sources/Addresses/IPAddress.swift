/// An address of either family. An IPv4-mapped IPv6 address is an IPv6 address.
public enum IPAddress: Hashable, Sendable, BitwiseCopyable {
    case v4(IPv4Address)
    case v6(IPv6Address)

    /// The families of addresses, with their names in messages.
    public enum Family: String, Sendable {
        case v4 = "IPv4"
        case v6 = "IPv6"

        /// The length of an address in bits: 32 or 128.
        public var bitWidth: Int { self == .v4 ? 32 : 128 }
    }

    public init(_ address: IPv4Address) { self = .v4(address) }

    public init(_ address: IPv6Address) { self = .v6(address) }

    /// Creates an IPv4 address from a number in host byte order: 10.0.0.1 is 0x0A000001.
    public init(_ ipv4: UInt32) { self = .v4(IPv4Address(ipv4)) }

    /// Returns the unspecified address of a family: 0.0.0.0 or ::.
    public static func unspecified(_ family: Family) -> IPAddress {
        switch family {
        case .v4: .v4(IPv4Address(0))
        case .v6: .v6(IPv6Address(high: 0, low: 0))
        }
    }

    /// Creates an address from four or sixteen bytes in wire order. Returns nil for another count.
    public init?(bytes: some Collection<UInt8>) {
        if bytes.count == 4 {
            self = .v4(IPv4Address(bytes.reduce(0) { $0 << 8 | UInt32($1) }))
        } else if let address = IPv6Address(bytes: bytes) {
            self = .v6(address)
        } else {
            return nil
        }
    }

    /// The four or sixteen bytes of the address in wire order.
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

    /// The address if it is IPv4, or nil.
    public var v4: IPv4Address? {
        if case .v4(let address) = self { address } else { nil }
    }

    /// The address if it is IPv6, or nil.
    public var v6: IPv6Address? {
        if case .v6(let address) = self { address } else { nil }
    }

    /// Whether a packet can be sent to the address on a network. The unspecified address, the loopback address and
    /// multicast are not unicast.
    public var isUnicast: Bool {
        switch self {
        case .v4(let address): address.isUnicast
        case .v6(let address): address.isUnicast
        }
    }

    /// Whether the address is 0.0.0.0 or ::.
    public var isUnspecified: Bool {
        switch self {
        case .v4(let address): address.value == 0
        case .v6(let address): (address.high, address.low) == (0, 0)
        }
    }

    /// Whether the address is in 127.0.0.0/8, or is ::1.
    public var isLoopback: Bool {
        switch self {
        case .v4(let address): address.value >> 24 == 127
        case .v6(let address): (address.high, address.low) == (0, 1)
        }
    }
}

extension IPAddress: LosslessStringConvertible {
    /// Reads an address of either family, in the forms of `IPv4Address` and `IPv6Address`.
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
    /// Returns whether `one` comes before `other`. IPv4 comes before IPv6, and numbers order each family.
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

/// An error about an address of a family that is not supported here.
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
    /// Returns the IPv4 address, for code that supports only this family: the packet programs' maps and IPIP devices.
    /// Throws for IPv6.
    public func asIPv4() throws(WrongFamily) -> IPv4Address {
        guard case .v4(let address) = self else { throw WrongFamily(self, accepted: .v4) }
        return address
    }
}

// MARK: IPv4

/// An IPv4 address, in host byte order inside the program. `bigEndian` is the form in packets, netlink messages and
/// maps.
public struct IPv4Address: Hashable, Comparable, Sendable, BitwiseCopyable, LosslessStringConvertible {
    /// The address as a number in host byte order: 10.0.0.1 is 0x0A000001.
    public var value: UInt32

    public init(_ value: UInt32) { self.value = value }

    /// Creates an address from network byte order, as in a packet or in `struct in_addr`.
    public init(bigEndian: UInt32) { self.value = UInt32(bigEndian: bigEndian) }

    public var bigEndian: UInt32 { value.bigEndian }

    /// Reads dotted decimal with four parts, each 0 to 255 without superfluous zeros (RFC 6943 section 3.1.1, strict
    /// form).
    public init?(_ description: String) {
        let parts = description.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (48...57).contains($0) }),
                part.utf8.count == 1 || part.utf8.first != 48, let octet = UInt8(part)
            else { return nil }
            value = value << 8 | UInt32(octet)
        }
        self.value = value
    }

    public var description: String {
        "\(value >> 24).\(value >> 16 & 255).\(value >> 8 & 255).\(value & 255)"
    }

    public static func < (one: IPv4Address, other: IPv4Address) -> Bool { one.value < other.value }

    /// Whether a packet can be sent to the address on a network. 0.0.0.0/8, 127.0.0.0/8, multicast and all above are
    /// not unicast.
    public var isUnicast: Bool {
        let first = value >> 24
        return first != 0 && first != 127 && first < 224
    }
}

extension IPv4Address: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let address = IPv4Address(text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(text) is no IPv4 address")
        }
        self = address
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

// MARK: IPv6

/// An IPv6 address, in host byte order inside the program. `bytes` is the form in packets and netlink messages.
///
/// It consists of two words, and not of a UInt128, whose alignment is 16 bytes. Swift 6.3 reads an argument that
/// contains a UInt128 by an aligned load. The argument's place may be aligned to 8 bytes only, and then the program
/// crashes.
public struct IPv6Address: Hashable, Comparable, Sendable, BitwiseCopyable, LosslessStringConvertible {
    /// The first 64 bits, in host byte order.
    public var high: UInt64
    /// The last 64 bits, in host byte order: ::1 is 1.
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Creates an address from sixteen bytes in wire order. Returns nil for another count.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        high = bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// The sixteen bytes of the address in wire order.
    public var bytes: [UInt8] {
        [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
    }

    /// Reads one of the forms of RFC 4291 section 2.2, without a zone. An address has eight groups of one to four
    /// hexadecimal digits. `::` stands for one or more groups of zeros. The last two groups may be an IPv4 address.
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

    /// Returns the groups of one side of `::`, or nil if the text is invalid.
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

    /// The text that RFC 5952 recommends, in lower case and without leading zeros. `::` stands for the first of the
    /// longest runs of two or more groups of zeros. An IPv4-mapped address ends with its IPv4 address.
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

    /// Whether a packet can be sent to the address on a network. The unspecified address, the loopback address and
    /// multicast are not unicast.
    public var isUnicast: Bool { (high, low) > (0, 1) && high >> 56 != 0xFF }
}
