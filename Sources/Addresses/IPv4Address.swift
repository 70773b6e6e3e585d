/// An IPv4 address, in host byte order inside the program; `bigEndian` is for the edges (packets, netlink, maps).
public struct IPv4Address: Hashable, Comparable, Sendable, BitwiseCopyable, LosslessStringConvertible {
    /// Host byte order: 10.0.0.1 is 0x0A000001.
    public var value: UInt32

    public init(_ value: UInt32) { self.value = value }

    /// `bigEndian` as it stands in a packet or in `struct in_addr`.
    public init(bigEndian: UInt32) { self.value = UInt32(bigEndian: bigEndian) }

    public var bigEndian: UInt32 { value.bigEndian }

    /// Dotted decimal with four parts, each 0 to 255 without superfluous zeros (RFC 6943 section 3.1.1, strict form).
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

    /// 0.0.0.0/8, 127.0.0.0/8, multicast and above: nothing that a packet can be sent to on a network.
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
