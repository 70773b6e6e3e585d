import Addresses
import Netlink

/// Returns a frame as annotated hexadecimal text, with a line for each header. Failed expectations show it.
func annotated(_ frame: [UInt8]) -> String {
    var text = PacketText(rest: frame[...])
    text.ethernet()
    return text.lines.joined(separator: "\n") + "\n"
}

private struct PacketText {
    var rest: ArraySlice<UInt8>
    var lines: [String] = []

    mutating func ethernet() {
        guard let header = take(14) else { return }
        var type = word16(header, 12)
        let source = MACAddress(Array(header[6..<12])), destination = MACAddress(Array(header[..<6]))
        line(header, "Ethernet \(source.map(\.description) ?? "") > \(destination.map(\.description) ?? "")")
        while type == 0x8100 || type == 0x88A8 {
            guard let tag = take(4) else { return }
            line(tag, "VLAN \(word16(tag, 0) & 0xFFF), tag \(String(type, radix: 16))")
            type = word16(tag, 2)
        }
        if type == 0x0800 { ipv4(isQuoted: false) } else { payload("type \(String(type, radix: 16))") }
    }

    mutating func ipv4(isQuoted: Bool) {
        guard let first = rest.first, let header = take(max(20, Int(first & 15) * 4)) else { return }
        let length = Int(word16(header, 2)), id = word16(header, 4), fragment = word16(header, 6)
        let source = IPv4Address(word32(header, 12)), destination = IPv4Address(word32(header, 16))
        line(
            header,
            "IP \(source) > \(destination) length \(length) tos \(header[1]) ttl \(header[8]) id \(id)"
                + (fragment & 0x4000 != 0 ? " DF" : "") + (fragment & 0x2000 != 0 ? " MF" : "")
                + " offset \((fragment & 0x1FFF) * 8) protocol \(header[9]), checksum "
                + (internetChecksum(header) == 0 ? "right" : "WRONG"))
        let excess = rest.count - (length - header.count)
        let trailer = excess > 0 && excess <= rest.count ? rest.suffix(excess) : rest.prefix(0)
        rest = rest.dropLast(trailer.count)
        let pseudo = Array(header[12..<20]) + [0, header[9]] + big(UInt16(truncatingIfNeeded: rest.count))
        let isWhole = internetChecksum(pseudo + Array(rest)) == 0
        let verdict = isQuoted ? "" : ", checksum " + (isWhole ? "right" : "WRONG")
        switch header[9] {
        case 1: icmp()
        case 4: ipv4(isQuoted: isQuoted)
        case 6: transport("TCP", 20, verdict)
        case 17: transport("UDP", 8, verdict)
        default: payload("payload")
        }
        rest = trailer
        payload("padding")
    }

    private mutating func transport(_ name: String, _ size: Int, _ verdict: String) {
        guard let header = take(min(size, rest.count)), header.count >= 4 else { return }
        var comment = "\(name) \(word16(header, 0)) > \(word16(header, 2))"
        if name == "TCP", header.count == 20 {
            let flags = zip("FSRPA", 0...).filter { header[13] >> $1 & 1 == 1 }.map { String($0.0) }.joined()
            comment += " [\(flags)] seq \(word32(header, 4)) ack \(word32(header, 8))"
        }
        line(header, comment + verdict)
        payload("payload")
    }

    private mutating func icmp() {
        let isRight = internetChecksum(Array(rest)) == 0
        guard let header = take(8) else { return }
        line(
            header,
            "ICMP \(header[0])/\(header[1]) word \(String(word32(header, 4), radix: 16)), checksum "
                + (isRight ? "right" : "WRONG"))
        if [3, 11, 12].contains(header[0]) { ipv4(isQuoted: true) } else { payload("payload") }
    }

    private mutating func payload(_ name: String) {
        guard !rest.isEmpty, let bytes = take(rest.count) else { return }
        line(bytes, "\(name), \(bytes.count) bytes")
    }

    private mutating func take(_ count: Int) -> [UInt8]? {
        guard rest.count >= count else {
            if !rest.isEmpty { line(Array(rest), "cut short") }
            rest = []
            return nil
        }
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }

    private mutating func line(_ bytes: [UInt8], _ comment: String) {
        let digits = bytes.prefix(64).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        lines.append(digits.joined(separator: " ") + (bytes.count > 64 ? " …" : "") + "  ; " + comment)
    }
}

func word16(_ bytes: [UInt8], _ offset: Int) -> UInt16 { UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1]) }

func word32(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
    UInt32(word16(bytes, offset)) << 16 | UInt32(word16(bytes, offset + 2))
}
