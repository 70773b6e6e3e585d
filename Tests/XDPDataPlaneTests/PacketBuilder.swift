import Addresses
import LoadBalancing
import Netlink

/// A packet by its layers, outermost first. Lengths and checksums are right unless stated otherwise:
/// `PacketBuilder.ethernet().vlan(100).ipv4(from: client, to: vip).tcp(from: 40000, to: 80, [.syn]).payload(10)`.
struct PacketBuilder: Sendable {
    struct TCPFlags: OptionSet, Sendable {
        let rawValue: UInt8
        static let fin = TCPFlags(rawValue: 1)
        static let syn = TCPFlags(rawValue: 2)
        static let rst = TCPFlags(rawValue: 4)
        static let psh = TCPFlags(rawValue: 8)
        static let ack = TCPFlags(rawValue: 16)
    }

    struct IPv4Header: Sendable {
        var source: IPv4Address
        var destination: IPv4Address
        var tos: UInt8 = 0
        var ttl: UInt8 = 61
        var id: UInt16 = 0x1234
        /// The flags and the fragment offset.
        var fragment: UInt16 = dontFragment
        /// The options, whose length is a multiple of four bytes.
        var options: [UInt8] = []
        /// A protocol number in place of the next layer's, or nil.
        var protocolNumber: UInt8?
        /// A total length in place of the real one, or nil.
        var totalLength: Int?
        /// A header length in words of four bytes, in place of the real one, or nil.
        var words: UInt8?
        var version: UInt8 = 4
    }

    struct TCPHeader: Sendable {
        var source: UInt16
        var destination: UInt16
        var flags: TCPFlags
        var sequence: UInt32 = 0x0102_0304
        var acknowledgement: UInt32 = 0
        var window: UInt16 = 0
        var options: [UInt8] = []
        /// A header length in words of four bytes, in place of the real one, or nil.
        var words: UInt8?
    }

    enum Layer: Sendable {
        case ethernet(destination: MACAddress, source: MACAddress)
        /// An EtherType, for a frame whose next layer is none of these.
        case etherType(UInt16)
        case vlan(id: UInt16, tag: UInt16)
        case ipv4(IPv4Header)
        case tcp(TCPHeader)
        case udp(source: UInt16, destination: UInt16)
        case icmp(type: UInt8, code: UInt8, word: UInt32)
        case payload([UInt8])
    }

    static let dontFragment: UInt16 = 0x4000
    static let moreFragments: UInt16 = 0x2000
    static let router = mac(1)
    static let director = mac(2)

    private(set) var layers: [Layer]
    /// The length to which the frame is padded with zeros.
    private var padding = 0
    private var end = Int.max

    static func ethernet(from source: MACAddress = router, to destination: MACAddress = director) -> PacketBuilder {
        PacketBuilder(layers: [.ethernet(destination: destination, source: source)])
    }

    private init(layers: [Layer]) { self.layers = layers }

    private func adding(_ layer: Layer) -> PacketBuilder {
        var copy = self
        copy.layers.append(layer)
        return copy
    }

    func vlan(_ id: UInt16, tag: UInt16 = 0x8100) -> PacketBuilder { adding(.vlan(id: id, tag: tag)) }

    func etherType(_ type: UInt16) -> PacketBuilder { adding(.etherType(type)) }

    func ipv4(
        from source: IPv4Address, to destination: IPv4Address, _ adjust: (inout IPv4Header) -> Void = { _ in }
    ) -> PacketBuilder {
        var header = IPv4Header(source: source, destination: destination)
        adjust(&header)
        return adding(.ipv4(header))
    }

    func tcp(
        from source: UInt16, to destination: UInt16, _ flags: TCPFlags, _ adjust: (inout TCPHeader) -> Void = { _ in }
    ) -> PacketBuilder {
        var header = TCPHeader(source: source, destination: destination, flags: flags)
        adjust(&header)
        return adding(.tcp(header))
    }

    func udp(from source: UInt16, to destination: UInt16) -> PacketBuilder {
        adding(.udp(source: source, destination: destination))
    }

    /// Adds an ICMP header. `word` is its second four bytes.
    func icmp(type: UInt8, code: UInt8 = 0, word: UInt32 = 0) -> PacketBuilder {
        adding(.icmp(type: type, code: code, word: word))
    }

    func payload(_ bytes: [UInt8]) -> PacketBuilder { adding(.payload(bytes)) }

    /// Adds a payload of `count` bytes, in which neighbours differ.
    func payload(_ count: Int) -> PacketBuilder { payload((0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + 3) }) }

    /// Pads the frame with zeros, as a sender's Ethernet does.
    func padded(to length: Int = 60) -> PacketBuilder {
        var copy = self
        copy.padding = length
        return copy
    }

    func truncated(to length: Int) -> PacketBuilder {
        var copy = self
        copy.end = length
        return copy
    }

    /// The layers of the way back over the same link: exchanged MAC addresses and the same tags.
    var wayBack: PacketBuilder {
        PacketBuilder(
            layers: layers.compactMap { layer in
                switch layer {
                case .ethernet(let destination, let source): .ethernet(destination: source, source: destination)
                case .vlan: layer
                default: nil
                }
            })
    }

    /// The bytes of the IP packet in the frame, without padding.
    var ipPacket: [UInt8] { bytes(from: layers.firstIndex { if case .ipv4 = $0 { true } else { false } } ?? 0) }

    var bytes: [UInt8] {
        let frame = bytes(from: 0)
        return Array((frame + [UInt8](repeating: 0, count: max(0, padding - frame.count))).prefix(end))
    }

    private func bytes(from first: Int) -> [UInt8] {
        var rest: [UInt8] = []
        for index in layers.indices.reversed() where index >= first { rest = header(at: index, before: rest) + rest }
        return rest
    }

    private func header(at index: Int, before rest: [UInt8]) -> [UInt8] {
        switch layers[index] {
        case .ethernet(let destination, let source): destination.bytes + source.bytes + etherType(at: index + 1)
        case .etherType: []
        case .vlan(let id, _): big(id) + etherType(at: index + 1)
        case .ipv4(let ip): header(ip, protocolNumber: protocolNumber(at: index + 1), before: rest)
        case .tcp(let tcp): header(tcp, before: rest, pseudo: pseudoHeader(of: index))
        case .udp(let source, let destination):
            withChecksum(
                at: 6, of: big(source) + big(destination) + big(UInt16(truncatingIfNeeded: 8 + rest.count)) + [0, 0],
                before: rest, pseudo: pseudoHeader(of: index), zero: 0xFFFF)
        case .icmp(let type, let code, let word):
            // An echo reply's checksum is 0xFFFF instead of 0, as RFC 1141's sum never becomes 0.
            withChecksum(
                at: 2, of: [type, code, 0, 0] + big(word), before: rest, pseudo: [], zero: type == 0 ? 0xFFFF : 0)
        case .payload(let bytes): bytes
        }
    }

    private func header(_ ip: IPv4Header, protocolNumber: UInt8, before rest: [UInt8]) -> [UInt8] {
        let length = 20 + ip.options.count
        let words = ip.words ?? UInt8(length / 4)
        let header =
            [ip.version << 4 | words, ip.tos] + big(UInt16(truncatingIfNeeded: ip.totalLength ?? length + rest.count))
            + big(ip.id) + big(ip.fragment) + [ip.ttl, ip.protocolNumber ?? protocolNumber, 0, 0]
            + big(ip.source.value) + big(ip.destination.value) + ip.options
        return withChecksum(at: 10, of: header, before: [], pseudo: [])
    }

    private func header(_ tcp: TCPHeader, before rest: [UInt8], pseudo: [UInt8]) -> [UInt8] {
        let words = tcp.words ?? UInt8((20 + tcp.options.count) / 4)
        let header =
            big(tcp.source) + big(tcp.destination) + big(tcp.sequence) + big(tcp.acknowledgement)
            + [words << 4, tcp.flags.rawValue] + big(tcp.window) + [0, 0, 0, 0] + tcp.options
        return withChecksum(at: 16, of: header, before: rest, pseudo: pseudo)
    }

    /// Returns the header with a checksum at `offset`. The sum is over the pseudo header, the header and `rest`.
    private func withChecksum(
        at offset: Int, of header: [UInt8], before rest: [UInt8], pseudo: [UInt8], zero: UInt16 = 0
    ) -> [UInt8] {
        var header = header
        let covered = pseudo.isEmpty ? [] : pseudo + big(UInt16(truncatingIfNeeded: header.count + rest.count))
        let checksum = internetChecksum(covered + header + rest)
        header.replaceSubrange(offset..<(offset + 2), with: big(checksum == 0 ? zero : checksum))
        return header
    }

    /// Returns the pseudo header of RFC 9293 section 3.1 and RFC 768, without the length at its end.
    private func pseudoHeader(of index: Int) -> [UInt8] {
        for layer in layers[..<index].reversed() {
            guard case .ipv4(let ip) = layer else { continue }
            return big(ip.source.value) + big(ip.destination.value) + [0, protocolNumber(at: index)]
        }
        return [UInt8](repeating: 0, count: 10)
    }

    private func etherType(at index: Int) -> [UInt8] {
        guard index < layers.count else { return big(UInt16(0x0800)) }
        return switch layers[index] {
        case .vlan(_, let tag): big(tag)
        case .etherType(let type): big(type)
        default: big(UInt16(0x0800))
        }
    }

    private func protocolNumber(at index: Int) -> UInt8 {
        guard index < layers.count else { return 59 }
        return switch layers[index] {
        case .icmp: 1
        case .ipv4: 4
        case .tcp: 6
        case .udp: 17
        default: 59
        }
    }
}

/// Returns a locally administered unicast MAC address.
func mac(_ last: UInt8, _ next: UInt8 = 0) -> MACAddress {
    guard let address = MACAddress([2, 0, 0, 0, next, last]) else { preconditionFailure("six bytes") }
    return address
}

func big<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
}

/// Returns the Internet checksum of the bytes (RFC 1071).
func internetChecksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for index in stride(from: 0, to: bytes.count, by: 2) {
        sum += UInt32(bytes[index]) << 8 + (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
        if sum > 0xFFFF { sum -= 0xFFFF }
    }
    return ~UInt16(sum)
}
