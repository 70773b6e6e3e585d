internal import LoadBalancing

/// A frame's headers in a few words, in the manner of tcpdump: "10.0.0.1:40112 > 10.0.0.100:80 tcp S", and inside a
/// tunnel "10.0.0.2 > 10.0.0.11 ipip 10.0.0.1:40112 > 10.0.0.100:80 tcp S".
public enum PacketText {
    public static func text(_ frame: [UInt8]) -> String {
        var cursor = Cursor(bytes: frame[...])
        guard cursor.skip(12), var type = cursor.u16() else { return "truncated" }
        var tags = ""
        for _ in 0..<2 where type == 0x8100 || type == 0x88A8 {
            guard let control = cursor.u16(), let next = cursor.u16() else { return "\(tags)truncated" }
            tags += "vlan \(control & 0xFFF) "
            type = next
        }
        guard type == 0x0800 else { return "\(tags)type 0x\(String(type, radix: 16))" }
        return tags + packet(cursor.bytes, depth: 0)
    }

    /// Of an IPv4 packet.
    private static func packet(_ bytes: ArraySlice<UInt8>, depth: Int) -> String {
        var cursor = Cursor(bytes: bytes)
        guard let first = cursor.u8(), cursor.skip(5), let fragment = cursor.u16(), cursor.skip(1),
            let number = cursor.u8(), cursor.skip(2), let source = cursor.u32(), let destination = cursor.u32(),
            cursor.skip(max(Int(first & 15) * 4 - 20, 0))
        else { return "truncated IP" }
        let (from, to) = (IPv4Address(source), IPv4Address(destination))
        let offset = Int(fragment & 0x1FFF) * 8
        let suffix = fragment & 0x3FFF == 0 ? "" : " fragment at \(offset)"
        if offset > 0 { return "\(from) > \(to) \(name(ofProtocol: number))\(suffix)" }
        switch number {
        case 4 where depth == 0: return "\(from) > \(to) ipip\(suffix) " + packet(cursor.bytes, depth: 1)
        case 6, 17:
            guard let sourcePort = cursor.u16(), let port = cursor.u16() else { break }
            var text = "\(from):\(sourcePort) > \(to):\(port) \(name(ofProtocol: number))"
            if number == 6, cursor.skip(9), let flags = cursor.u8() { text += " \(Self.flags(flags))" }
            return text + suffix
        case 1:
            guard let type = cursor.u8(), let code = cursor.u8() else { break }
            return "\(from) > \(to) icmp \(icmp(type, code))\(suffix)"
        default: break
        }
        return "\(from) > \(to) \(name(ofProtocol: number))\(suffix)"
    }

    private static func name(ofProtocol number: UInt8) -> String {
        switch number {
        case 1: "icmp"
        case 4: "ipip"
        case 6: "tcp"
        case 17: "udp"
        default: "protocol \(number)"
        }
    }

    /// tcpdump's letters.
    private static func flags(_ flags: UInt8) -> String {
        let letters = [(1, "F"), (2, "S"), (4, "R"), (8, "P"), (16, "."), (32, "U"), (64, "E"), (128, "W")]
        let text = letters.filter { Int(flags) & $0.0 != 0 }.map(\.1).joined()
        return text.isEmpty ? "none" : text
    }

    private static func icmp(_ type: UInt8, _ code: UInt8) -> String {
        switch (type, code) {
        case (0, _): "echo reply"
        case (8, _): "echo request"
        case (3, 3): "port unreachable"
        case (3, 4): "fragmentation needed"
        case (3, _): "unreachable, code \(code)"
        case (11, _): "time exceeded"
        default: "type \(type) code \(code)"
        }
    }

    /// Reads network byte order from the front.
    private struct Cursor {
        var bytes: ArraySlice<UInt8>

        mutating func skip(_ count: Int) -> Bool {
            guard bytes.count >= count else { return false }
            bytes = bytes.dropFirst(count)
            return true
        }

        mutating func u8() -> UInt8? { bytes.popFirst() }

        mutating func u16() -> UInt16? {
            guard bytes.count >= 2, let high = u8(), let low = u8() else { return nil }
            return UInt16(high) << 8 | UInt16(low)
        }

        mutating func u32() -> UInt32? {
            guard bytes.count >= 4, let high = u16(), let low = u16() else { return nil }
            return UInt32(high) << 16 | UInt32(low)
        }
    }
}
