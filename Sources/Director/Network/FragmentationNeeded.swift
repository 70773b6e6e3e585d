internal import DataPlane
internal import LoadBalancing

/// A router's word that a tunnelled packet of ours is too big (ICMP type 3 code 4, RFC 792 and RFC 1191 section 4).
struct FragmentationNeeded: Sendable, Equatable {
    var router: IPv4Address
    /// Of the outer packet that it quotes.
    var source: IPv4Address
    var destination: IPv4Address
    var length: UInt32
    /// Of the packet inside, where so much is quoted.
    var innerDestination: IPv4Address?
    var content = Content.unknown
    /// Of the next hop; 0 from routers that do not say it.
    var mtu: UInt32

    /// The flow of the packet inside, as far as it is quoted.
    enum Content: Sendable, Equatable {
        /// Less than the ports is quoted.
        case unknown
        case flow(FlowEnds)
        /// A packet without ports.
        case other
    }

    /// `packet`: as a raw socket delivers it, before the kernel has looked at its checksum. Nil where it is something
    /// else, not whole, or about a packet that no director sent: without DF, small enough, or, as far as it is quoted,
    /// with no IPv4 packet of the right length in it.
    init?(packet: [UInt8]) {
        guard let header = Self.headerLength(packet[...]), packet[9] == 1 else { return nil }
        let end = Int(Self.word(packet, 2))
        guard end <= packet.count, end >= header + 8 + 20 else { return nil }
        let message = packet[header..<end]
        guard packet[header] == 3, packet[header + 1] == 4, Self.isChecksumRight(message) else { return nil }
        let quoted = Array(message.dropFirst(8))
        guard let outer = Self.headerLength(quoted[...]), quoted[9] == 4, quoted[6] & 0x40 != 0 else { return nil }
        let length = Self.word(quoted, 2)
        let inner = Array(quoted.dropFirst(outer))
        if let first = inner.first, first >> 4 != 4 || first & 15 < 5 { return nil }
        if inner.count >= 4, Int(Self.word(inner, 2)) + outer != length { return nil }
        router = Self.address(packet, 12)
        source = Self.address(quoted, 12)
        destination = Self.address(quoted, 16)
        innerDestination = inner.count >= 20 ? Self.address(inner, 16) : nil
        content = Self.content(of: inner)
        self.length = UInt32(length)
        mtu = UInt32(Self.word(packet, header + 6))
        guard mtu < self.length else { return nil }
    }

    private static func content(of inner: [UInt8]) -> Content {
        guard let header = headerLength(inner[...]), inner.count >= header + 8 else { return .unknown }
        guard let transport = TransportProtocol.allCases.first(where: { $0.number == inner[9] }),
            word(inner, 6) & 0x1FFF == 0
        else { return .other }
        return .flow(
            FlowEnds(
                transport: transport, client: address(inner, 12), clientPort: word(inner, header),
                vip: address(inner, 16), port: word(inner, header + 2)))
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
