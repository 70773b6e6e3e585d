internal import LoadBalancing

/// A router's word that a tunnelled packet of ours is too big (ICMP type 3 code 4, RFC 792 and RFC 1191 section 4).
struct FragmentationNeeded: Sendable, Equatable {
    var router: IPv4Address
    /// Of the outer packet that it quotes.
    var source: IPv4Address
    var destination: IPv4Address
    var length: UInt32
    /// Of the next hop; 0 from routers that do not say it.
    var mtu: UInt32

    /// `packet`: as a raw socket delivers it, before the kernel has looked at its checksum. Nil where it is something
    /// else, or not whole.
    init?(packet: [UInt8]) {
        guard let header = Self.headerLength(packet[...]), packet[9] == 1 else { return nil }
        let end = Int(Self.word(packet, 2))
        guard end <= packet.count, end >= header + 8 + 20 else { return nil }
        let message = packet[header..<end]
        guard packet[header] == 3, packet[header + 1] == 4, Self.isChecksumRight(message) else { return nil }
        let quoted = Array(message.dropFirst(8))
        guard Self.headerLength(quoted[...]) != nil, quoted[9] == 4 else { return nil }
        router = Self.address(packet, 12)
        source = Self.address(quoted, 12)
        destination = Self.address(quoted, 16)
        length = UInt32(Self.word(quoted, 2))
        mtu = UInt32(Self.word(packet, header + 6))
    }

    private static func headerLength(_ packet: ArraySlice<UInt8>) -> Int? {
        guard packet.count >= 20, let first = packet.first, first >> 4 == 4 else { return nil }
        let length = Int(first & 15) * 4
        return length >= 20 && packet.count >= length ? length : nil
    }

    private static func word(_ bytes: [UInt8], _ offset: Int) -> UInt16 {
        UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
    }

    private static func address(_ bytes: [UInt8], _ offset: Int) -> IPv4Address {
        IPv4Address(UInt32(word(bytes, offset)) << 16 | UInt32(word(bytes, offset + 2)))
    }

    /// RFC 1071.
    private static func isChecksumRight(_ message: ArraySlice<UInt8>) -> Bool {
        var sum: UInt32 = 0
        for (index, byte) in message.enumerated() { sum += index.isMultiple(of: 2) ? UInt32(byte) << 8 : UInt32(byte) }
        while sum > 0xFFFF { sum = (sum & 0xFFFF) + (sum >> 16) }
        return sum == 0xFFFF
    }
}
