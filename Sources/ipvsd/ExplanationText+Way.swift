import Addresses
import Director
import LoadBalancing
import XDPDataPlane

/// The packet's way out, and the verdict.
extension ExplanationText {
    var way: [String] {
        guard let server = decision.server else { return [] }
        guard let way = decision.way else { return ["\(server): there is no route to it"] }
        if way.isLocal { return ["\(server) is the director itself: the packet goes up its own stack as it came"] }
        let name = explanation.egress ?? "interface \(way.interface)"
        let tags = way.tags.isEmpty ? "" : ", tagged \(way.tags.joined(separator: ", "))"
        guard let mac = way.nextHopMAC else {
            return ["\(server) by \(name): the next hop's MAC is not known, as it does not answer ARP"]
        }
        var lines: [String] = []
        switch decision.verdict {
        case .forwarded where way.isFragmented:
            lines += [header(way), "too big for \(way.mtu) bytes: the kernel fragments it, by way of ipvsd0"]
        case .forwarded:
            lines += [header(way), "out of \(name)\(tags), from \(way.sourceMAC) to \(mac)"]
        default:
            lines.append(
                "to \(server) by \(name): \(way.length) bytes with the tunnel's header, but its path MTU is \(way.mtu)")
        }
        lines.append(
            "up to \(way.largest) bytes fit (path MTU \(way.mtu)); larger ones with DF get ICMP \"fragmentation needed\" from "
                + "\(packet.vip), MTU \(way.largest)")
        lines.append("without DF they are " + (way.canFragment ? "fragmented, by way of ipvsd0" : "dropped"))
        return lines
    }

    private func header(_ way: PacketDecision.Way) -> String {
        "IPIP \(way.source) -> \(way.destination), TTL \(way.ttl), "
            + "\(way.dontFragment ? "DF, id 0" : "no DF, an id of its own"), \(way.length) bytes; TOS as the packet's"
    }

    var verdict: [String] {
        let words =
            switch decision.verdict {
            case .ignored: "left to the director's own stack, not counted"
            case .forwarded: "forwarded to \(decision.server.map(\.description) ?? "a real server")"
            case .passed: "passed to the director's own stack"
            case .answered: "answered: \(answer)"
            case .dropped: "dropped"
            }
        let condition = explanation.isDetached ? "if it came in: " : ""
        let names = [decision.reason].compactMap(\.self) + decision.events
        return [condition + words + (names.isEmpty ? "" : " (counted as \(names.joined(separator: ", ")))")]
    }

    private var answer: String {
        switch decision.reason {
        case "answered-no-server": "ICMP port unreachable from \(packet.vip)"
        case "answered-too-big": "ICMP fragmentation needed from \(packet.vip), MTU \(decision.way?.largest ?? 0)"
        default: "RST from \(packet.vip)"
        }
    }
}
