import Addresses
import DataPlane
import LoadBalancing
import Netlink
import PacketPrograms
import TestSupport

@testable import XDPDataPlane

/// The packets that leave: encapsulated packets, and answers from the VIP.
extension PathModel {
    private static let encapsulation = 20

    mutating func forward(_ packet: Packet, to id: UInt32) -> (Verdict, [UInt8]?) {
        func drop(_ model: inout PathModel, _ reason: ipvsd_counter) -> (Verdict, [UInt8]?) {
            model.count(reason)
            return (.drop, nil)
        }
        guard let server = servers[id], var path = paths[Standard.server(server.number)] else {
            return drop(&self, IPVSD_DROPPED_NO_NEXT_HOP)
        }
        if path.isLocal {
            countForwarded(packet, id)
            return (.pass, packet.frame)
        }
        guard path.nextHopMAC != nil else { return drop(&self, IPVSD_DROPPED_NO_NEXT_HOP) }
        if packet.length + Self.encapsulation > Int(path.mtu) {
            if packet.isICMPError { return drop(&self, IPVSD_DROPPED_TOO_BIG_ICMP_ERROR) }
            if packet.mayNotBeFragmented {
                return unreachable(
                    packet, code: 4, mtu: UInt16(Int(path.mtu) - Self.encapsulation), IPVSD_ANSWERED_TOO_BIG)
            }
            guard let peer = settings.fragmentingPeer else { return drop(&self, IPVSD_DROPPED_TOO_BIG_WITHOUT_DF) }
            count(IPVSD_EVENT_FRAGMENTED)
            (path.nextHopMAC, path.tags, path.transmits) = (peer, [], false)
        }
        path.source = outerSource(packet, path)
        countForwarded(packet, id)
        return (path.transmits ? .transmit : .redirect, NaiveEncapsulator.encapsulate(packet.frame, path: path, id: 0))
    }

    private mutating func countForwarded(_ packet: Packet, _ id: UInt32) {
        servers[id]?.packets += 1
        servers[id]?.bytes += UInt64(packet.length)
        count(IPVSD_FORWARDED)
    }

    /// Returns the outer source address, which varies by the flow if the director has a prefix of outer sources.
    private func outerSource(_ packet: Packet, _ path: Path) -> IPv4Address {
        settings.outerSources?.outerSource(client: packet.client, clientPort: packet.clientPort) ?? path.source
    }

    // MARK: Answers

    private var wayBack: Verdict { settings.answersByRedirect ? .redirect : .transmit }

    /// Returns the Ethernet header and tags for the way back, with the MAC addresses exchanged.
    private func ethernetBack(_ packet: Packet) -> [UInt8] {
        Array(packet.frame[6..<12] + packet.frame[..<6] + packet.frame[12..<packet.l3])
    }

    private mutating func mayAnswer(_ counter: ipvsd_counter) -> Bool {
        count(settings.mayAnswer ? counter : IPVSD_DROPPED_REPLY_LIMIT)
        return settings.mayAnswer
    }

    mutating func echoReply(_ packet: Packet) -> Decision {
        count(IPVSD_ANSWERED_ECHO)
        var ip = Array(packet.frame[packet.l3...])
        let header = packet.headerLength
        let adjusted = Self.adjusted(word16(ip, 10), from: word16(ip, 8), to: 64 << 8 | UInt16(ip[9]))
        ip.replaceSubrange(10..<12, with: big(adjusted))
        ip[8] = 64
        ip.replaceSubrange(12..<20, with: big(packet.vip.value) + big(packet.client.value))
        ip[header] = 0
        // The checksum of a reply of zeros is 0xFFFF, as senders compute it.
        let sum = UInt32(word16(ip, header + 2)) + 0x0800
        ip.replaceSubrange(header + 2..<header + 4, with: big(UInt16(sum & 0xFFFF) + UInt16(sum >> 16)))
        return .end(wayBack, ethernetBack(packet) + ip)
    }

    /// Returns the checksum after a changed word. A wrong checksum stays wrong (RFC 1624, equation 3).
    private static func adjusted(_ checksum: UInt16, from old: UInt16, to new: UInt16) -> UInt16 {
        var sum = UInt32(~checksum) + UInt32(~old) + UInt32(new)
        while sum > 0xFFFF { sum = sum >> 16 + sum & 0xFFFF }
        return ~UInt16(sum)
    }

    /// Answers with a reset (RFC 9293 section 3.5.2).
    mutating func reset(_ packet: Packet, _ reason: ipvsd_counter) -> Decision {
        guard mayAnswer(reason) else { return .end(.drop, nil) }
        let frame = packet.frame, tcp = packet.l4
        let hasACK = packet.flags.contains(.ack)
        let occupied =
            packet.room - packet.tcpHeaderLength + (packet.flags.contains(.syn) ? 1 : 0)
            + (packet.flags.contains(.fin) ? 1 : 0)
        let back = PacketBuilder.ethernet().ipv4(from: packet.vip, to: packet.client) { ($0.ttl, $0.id) = (64, 0) }
            .tcp(from: packet.port, to: packet.clientPort, hasACK ? [.rst] : [.rst, .ack]) {
                $0.sequence = hasACK ? word32(frame, tcp + 8) : 0
                $0.acknowledgement = hasACK ? 0 : word32(frame, tcp + 4) &+ UInt32(occupied)
            }
        return .end(wayBack, ethernetBack(packet) + back.ipPacket)
    }

    /// Answers with an ICMP error that quotes the IP header and eight bytes of the packet (RFC 792).
    mutating func unreachable(
        _ packet: Packet, code: UInt8, mtu: UInt16, _ reason: ipvsd_counter
    ) -> (Verdict, [UInt8]?) {
        guard mayAnswer(reason) else { return (.drop, nil) }
        let quoted = Array(packet.frame[packet.l3..<packet.l4 + 8])
        let back = PacketBuilder.ethernet().ipv4(from: packet.vip, to: packet.client) {
            ($0.ttl, $0.id, $0.tos) = (64, 0, packet.frame[packet.l3 + 1] & 0xFC)
        }.icmp(type: 3, code: code, word: UInt32(mtu)).payload(quoted)
        return (wayBack, ethernetBack(packet) + back.ipPacket)
    }
}
