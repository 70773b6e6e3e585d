import Addresses
import Director
import LoadBalancing
import XDPDataPlane

/// The text of `ipvsd explain`, in the order in which the packet program decides.
struct ExplanationText {
    let explanation: Explanation
    var packet: ExplainedPacket { explanation.packet }
    var decision: PacketDecision { explanation.decision }

    init(_ explanation: Explanation) { self.explanation = explanation }

    var text: String {
        let parts: [(title: String, lines: [String])] = [
            ("packet", packetLines), ("ingress", ingress), ("service", service), ("connection", connection),
            ("template", template), ("scheduling", scheduling), ("flow table", flowTable), ("way", way),
            ("verdict", verdict),
        ]
        return parts.flatMap { title, lines in
            lines.enumerated().map { ($0.offset == 0 ? title : "").padded(to: 12) + $0.element }
        }.joined(separator: "\n")
    }

    // MARK: Packet and service

    private var packetLines: [String] {
        let kind = packet.segment.map { " \($0.rawValue.uppercased())" } ?? ""
        return [
            "\(packet.client):\(packet.clientPort) -> \(packet.vip):\(packet.port)/\(packet.transport.rawValue)\(kind), "
                + "\(packet.length) bytes, \(packet.mayBeFragmented ? "no DF" : "DF")"
        ]
    }

    private var ingress: [String] {
        guard !explanation.isDetached else {
            return ["the packet program is on no interface: no packet comes to it"]
        }
        var lines = ["XDP \(explanation.xdp.mode ?? "off") on \(explanation.xdp.interfaces.joined(separator: ", "))"]
        if !decision.ownMACs.isEmpty {
            lines.append("of frames to \(decision.ownMACs.joined(separator: ", "))")
            if decision.isUnattended {
                lines.append("no daemon follows the interface's MAC: recorded connections go on to any other MAC, too")
            }
        }
        if decision.reason == "dropped-martian-source" { lines.append("no packet has \(packet.client) as its source") }
        if decision.reason == "dropped-merged-frame" {
            lines.append(
                "longer than \(decision.ingressMTU) bytes, the interface's MTU: merged by it out of several packets"
                    + (packet.mayBeFragmented ? " (one that comes as fragments is not explained)" : ""))
        }
        if explanation.pid == nil {
            lines.append("no daemon answers: who is out, and why, is known as far as the tables tell")
        }
        return lines
    }

    private var service: [String] {
        guard let service = decision.service else {
            return [
                decision.verdict == .ignored
                    ? "\(packet.vip) is no VIP" : "\(packet.vip) is a VIP, but has no service at this port"
            ]
        }
        var words = [service.scheduler?.rawValue ?? "unknown scheduler"]
        if let now = service.comparesBy, now != service.scheduler {
            words.append("now as \(now.rawValue), as a real server starts slowly")
        }
        if !service.schedulerFlags.isEmpty { words.append(service.schedulerFlags.joined(separator: ",")) }
        if let seconds = service.persistence {
            words.append("persistent \(seconds) s for each /\(service.persistencePrefixLength ?? 32)")
        }
        if service.isOnePacket { words.append("one-packet scheduling") }
        if service.onServerLoss != .keep { words.append("on server loss \(service.onServerLoss.rawValue)") }
        if service.onServerRemoval != .move { words.append("on server removal \(service.onServerRemoval.rawValue)") }
        let kind = service.listener.isAnyPort ? "\(service.listener.vip), all ports" : "\(service.listener)"
        var lines = ["\(kind): \(words.joined(separator: ", "))"]
        let others = service.listeners.filter { $0 != service.listener }
        if !others.isEmpty {
            lines.append("one service with \(others.map(\.description).joined(separator: ", "))")
        }
        return lines
    }

    // MARK: Connection, template and flow table

    private var connection: [String] {
        guard let service = decision.service, decision.reason != "dropped-martian-source",
            decision.reason != "dropped-merged-frame"
        else { return [] }
        guard let connection = decision.connection else {
            return [service.isOnePacket ? "not looked for" : "none"]
        }
        let place =
            connection.isInFormerTable
            ? "in the smaller table before this one"
            : "in bucket \(connection.bucket)"
                + (connection.isInSecondBucket ? " (its second one)" : "")
                + ", \(connection.isInOwnHalf ? "its own half" : "the other half")"
        let server = connection.server.map(\.description) ?? "a real server that is gone"
        var lines = [
            "\(connection.state.rawValue) to \(server), idle \(seconds(connection.idle)), expires in "
                + "\(seconds(connection.remaining)); \(place)"
        ]
        if connection.isBare {
            lines.append(
                "it is known by \(packet.transport == .tcp ? "ACKs without data" : "a single datagram") alone, and gives way "
                    + "to others")
        }
        switch connection.serverStanding {
        case .up: break
        case .down: lines.append("\(server) is down")
        case .drained: lines.append("\(server) is drained, and the wait has ended: datagrams leave it")
        case .standby: lines.append("\(server) stands by: its TCP connections go on")
        case .removed: lines.append("\(server) is no longer configured: its TCP connections go on")
        }
        switch connection.fate {
        case .kept: break
        case .reusedPorts: lines.append("it is closing, and its client's ports are used again: scheduled anew")
        case .serverLost: lines.append("its real server is lost: scheduled anew")
        case .finishing: lines.append("it is no longer refreshed: when it expires, its client is scheduled anew")
        case .serverSilent: lines.append("\(server) answers no SYNs: another one is looked for")
        case .reset: lines.append("its real server is lost: it is forgotten, and the client gets a RST")
        }
        return lines
    }

    private var template: [String] {
        guard let service = decision.service, service.persistence != nil else { return [] }
        let noRoom = "no room for more: the Maglev table names one real server for all of the client's connections"
        guard let template = decision.template else {
            return [
                "none: " + (decision.lacksRoomForTemplate ? noRoom : "the client's next real server becomes its own")
            ]
        }
        let owner = "\(template.client)/\(template.prefixLength)"
        let server = template.server.map(\.description) ?? "a real server that is gone"
        let outcome =
            switch template.standing {
            case .heeded: "for \(seconds(template.remaining)) more"
            case .expired: "but its time is over"
            case .serverDown: "which is down"
            case .serverRemoved: "which is no longer in use"
            case .serverMoves: "whose clients go elsewhere with their next connection"
            }
        return ["\(owner) is with \(server), \(outcome)"]
            + (template.isConfirmed ? [] : ["it is known by a first packet alone, and gives way to others"])
            + (decision.lacksRoomForTemplate ? [noRoom] : [])
    }

    private var flowTable: [String] {
        var lines: [String] = []
        switch decision.recording {
        case .recorded: lines.append("the connection is recorded in a free entry")
        case .renewed: lines.append("the connection's entry is written anew")
        case .evicting: lines.append("there is no free entry: another connection, which has least to lose, gives way")
        case .noRoom:
            lines.append("there is no room: the real server of each packet is worked out anew, and is the same")
        case PacketDecision.Recording.none?: lines.append("the packet is not recorded")
        case nil: break
        }
        if decision.halfOpenLimit > 0, decision.halfOpen >= decision.halfOpenLimit, packet.transport == .tcp {
            lines.append(
                "half-open connections are at their limit (\(decision.halfOpen), limit \(decision.halfOpenLimit)): new ones are "
                    + "not recorded, and the real server of each packet is worked out anew, and is the same")
        }
        if decision.isUnattended, decision.connection == nil, decision.service != nil {
            lines.append(
                "nobody has swept it for a while: the packet would do so first, and what has expired would count no more"
            )
        }
        return lines
    }

    /// Returns the text of a time in seconds, rounded to a tenth.
    func seconds(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) s"
    }
}

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
