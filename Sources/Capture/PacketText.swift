internal import Packets

/// A frame's headers on a line, in the manner of tcpdump: "10.0.0.1:40112 > 10.0.0.100:80 tcp S", and in a tunnel
/// "10.0.0.2 > 10.0.0.11 ipip 10.0.0.1:40112 > 10.0.0.100:80 tcp S".
public enum PacketText {
    public static func text(_ frame: [UInt8]) -> String {
        guard var type = frame[Ethernet.type] else { return "truncated" }
        var rest = frame.dropFirst(Ethernet.length)
        var tags = ""
        for _ in 0..<2 where Ethernet.Tag.isAnnounced(by: type) {
            guard let control = rest[Ethernet.Tag.control], let next = rest[Ethernet.Tag.type] else {
                return "\(tags)truncated"
            }
            tags += "vlan \(control & Ethernet.Tag.vlan) "
            type = next
            rest = rest.dropFirst(Ethernet.Tag.length)
        }
        guard type == Ethernet.ipv4 else { return "\(tags)type 0x\(String(type, radix: 16))" }
        return tags + text(ofPacket: rest, depth: 0)
    }

    /// Returns the text of an IPv4 packet that is inside `depth` tunnels.
    private static func text(ofPacket packet: ArraySlice<UInt8>, depth: Int) -> String {
        guard let from = packet[IPv4.source], let to = packet[IPv4.destination], let fragment = packet[IPv4.fragment],
            let number = packet[IPv4.protocolNumber],
            let length = packet[IPv4.versionAndLength].map({ IPv4.headerLength($0) ?? IPv4.length }),
            packet.count >= length
        else { return "truncated IP" }
        let payload = packet.dropFirst(length)
        let offset = Int(fragment & IPv4.fragmentOffset) * 8
        let isWhole = fragment & (IPv4.moreFragments | IPv4.fragmentOffset) == 0
        let suffix = isWhole ? "" : " fragment at \(offset)"
        if offset > 0 { return "\(from) > \(to) \(name(ofProtocol: number))\(suffix)" }
        switch number {
        case IPProtocol.ipip where depth == 0:
            return "\(from) > \(to) ipip\(suffix) " + text(ofPacket: payload, depth: 1)
        case IPProtocol.tcp, IPProtocol.udp:
            guard let source = payload[Ports.source], let port = payload[Ports.destination] else { break }
            var text = "\(from):\(source) > \(to):\(port) \(name(ofProtocol: number))"
            if number == IPProtocol.tcp, let flags = payload[TCP.flags] { text += " \(letters(of: flags))" }
            return text + suffix
        case IPProtocol.icmp:
            guard let type = payload[ICMP.type], let code = payload[ICMP.code] else { break }
            return "\(from) > \(to) icmp \(icmp(type, code))\(suffix)"
        default: break
        }
        return "\(from) > \(to) \(name(ofProtocol: number))\(suffix)"
    }

    private static func name(ofProtocol number: UInt8) -> String {
        switch number {
        case IPProtocol.icmp: "icmp"
        case IPProtocol.ipip: "ipip"
        case IPProtocol.tcp: "tcp"
        case IPProtocol.udp: "udp"
        default: "protocol \(number)"
        }
    }

    /// Returns tcpdump's letters for TCP flags.
    private static func letters(of flags: TCP.Flags) -> String {
        let letters: [(TCP.Flags, String)] = [
            (.fin, "F"), (.syn, "S"), (.rst, "R"), (.psh, "P"), (.ack, "."), (.urg, "U"), (.ece, "E"), (.cwr, "W"),
        ]
        let text = letters.filter { flags.contains($0.0) }.map(\.1).joined()
        return text.isEmpty ? "none" : text
    }

    private static func icmp(_ type: UInt8, _ code: UInt8) -> String {
        switch (type, code) {
        case (ICMP.echoReply, _): "echo reply"
        case (ICMP.echoRequest, _): "echo request"
        case (ICMP.unreachable, ICMP.portUnreachable): "port unreachable"
        case (ICMP.unreachable, ICMP.fragmentationNeeded): "fragmentation needed"
        case (ICMP.unreachable, _): "unreachable, code \(code)"
        case (ICMP.timeExceeded, _): "time exceeded"
        default: "type \(type) code \(code)"
        }
    }
}
