import DataPlane
import Director
import LoadBalancing

/// What `ipvsd explain` prints for people: in the packet's order, a line or a few for each thing it comes to.
struct ExplanationText {
    private let explanation: Explanation
    private var packet: ExplainedPacket { explanation.packet }
    private var decision: PacketDecision { explanation.decision }

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

    // MARK: What comes in

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
        if decision.isUnattended {
            lines.append("of frames to any host, as no daemon has run for a while")
        } else if !decision.ownMACs.isEmpty {
            lines.append("of frames to \(decision.ownMACs.joined(separator: ", "))")
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
        let kind = service.listener.isAnyPort ? "\(service.listener.vip), all ports" : "\(service.listener)"
        var lines = ["\(kind): \(words.joined(separator: ", "))"]
        let others = service.listeners.filter { $0 != service.listener }
        if !others.isEmpty {
            lines.append("one service with \(others.map(\.description).joined(separator: ", "))")
        }
        return lines
    }

    // MARK: What is remembered

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
                "it is known by a single \(packet.transport == .tcp ? "ACK without data" : "datagram"), and gives way "
                    + "to others")
        }
        switch connection.serverStanding {
        case .up: break
        case .down: lines.append("\(server) is down")
        case .standby: lines.append("\(server) stands by: its connections go on")
        case .removed: lines.append("\(server) is no longer configured: its connections go on")
        }
        switch connection.fate {
        case .kept: break
        case .reusedPorts: lines.append("it is closing, and its client's ports are used again: scheduled anew")
        case .serverLost: lines.append("its real server is lost: scheduled anew")
        case .serverSilent: lines.append("\(server) answers no SYNs: another one is looked for")
        case .reset: lines.append("its real server is lost: it is forgotten, and the client gets a RST")
        }
        return lines
    }

    private var template: [String] {
        guard let service = decision.service, service.persistence != nil else { return [] }
        guard let template = decision.template else { return ["none: the client's next real server becomes its own"] }
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
    }

    private var flowTable: [String] {
        var lines: [String] = []
        switch decision.recording {
        case .recorded: lines.append("the connection is recorded in a free entry")
        case .renewed: lines.append("the connection's entry is written anew")
        case .evicting: lines.append("there is no free entry: another connection, which has least to lose, gives way")
        case .noRoom: lines.append("there is no room: the Maglev table names the real server of each packet")
        case PacketDecision.Recording.none?: lines.append("the packet is not recorded")
        case nil: break
        }
        if decision.halfOpenLimit > 0, decision.halfOpen >= decision.halfOpenLimit, packet.transport == .tcp {
            lines.append(
                "half-open connections are at their limit (\(decision.halfOpen), limit \(decision.halfOpenLimit)): new ones are "
                    + "not recorded, and each packet's real server is found by a hash")
        }
        if decision.isUnattended, decision.connection == nil, decision.service != nil {
            lines.append(
                "nobody has swept it for a while: the packet would do so first, and what has expired would count no more"
            )
        }
        return lines
    }
}

// MARK: Who is chosen

extension ExplanationText {
    private var scheduling: [String] {
        var lines = decision.choices.map { "\(occasion($0.occasion)): \(said($0.choice))" }
        if !decision.forgettings.isEmpty {
            lines.insert("it may be one that was not recorded: \(forgettings)", at: 1)
        }
        guard !decision.choices.isEmpty, !explanation.servers.isEmpty else { return lines }
        lines += table
        return lines
    }

    private func occasion(_ occasion: PacketDecision.Choice.Occasion) -> String {
        switch occasion {
        case .newConnection: "a new connection"
        case .onePacket: "each datagram by itself"
        case .reusedPorts: "a new connection from the same ports"
        case .serverLost: "in place of the lost real server"
        case .serverSilent: "in place of the silent real server"
        case .unknownConnection: "a packet of an unknown connection"
        case .flood: "too many connections are half-open"
        case .noRoom: "no room in the flow table"
        }
    }

    private var forgettings: String {
        decision.forgettings.map { reason in
            switch reason {
            case .hashBased: "all directors choose alike for a client"
            case .noRoom: "lately a connection found no room in its part of the flow table"
            case .flood: "lately too many were half-open"
            }
        }.joined(separator: "; ")
    }

    private func said(_ choice: ServerChoice) -> String {
        let server = choice.server.map(\.description) ?? "no real server"
        let slot = choice.slot.map { "\($0) of \(choice.slots ?? 0)" } ?? "none"
        let key = choice.isByPort ? "the client's address and port" : "the client's address"
        let passed = choice.server == nil ? "" : ", which takes no new connections; the next that does"
        switch choice.method {
        case .template: return "\(server), by the template"
        case .turn:
            let isPassed = choice.passed > 0 && choice.server != nil
            let skipped = isPassed ? ", after \(choice.passed) that take no new ones" : ""
            return choice.slots == nil
                ? server : "\(server), whose turn it is (place \(slot)\(skipped)); the next new connection takes it"
        case .twoChoices: return "\(server), the better of two drawn; the next new connection takes this draw"
        case .comparison: return "\(server), by comparison"
        case .locality: return "\(server), for the VIP"
        case .sourceHash: return "\(server), by \(key): bucket \(slot)\(choice.passed > 0 ? passed : "")"
        case .maglev: return "\(server), by \(key): Maglev slot \(slot)\(choice.passed > 0 ? passed : "")"
        }
    }

    /// The real servers, in the manner of `ipvsd status`.
    private var table: [String] {
        let cost = cost
        let candidates = Dictionary(decision.candidates.map { ($0.server, $0) }, uniquingKeysWith: { one, _ in one })
        let titles = ["", "RealServer", "Weight", "ActiveConn", "InActConn"]
        var rows = [titles + (cost == nil ? [] : ["Cost"]) + ["Health"]]
        for server in explanation.servers where server.health != .removed {
            let candidate = candidates[server.address]
            rows.append(
                [
                    server.address == decision.server ? "->" : "", "\(server.address)", StatusTable.weight(server),
                    "\(candidate?.active ?? server.active)", "\(candidate?.inactive ?? server.inactive)",
                ] + (cost.map { [candidate.flatMap($0) ?? "-"] } ?? []) + [StatusTable.health(server)])
        }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            var line = zip(row, widths).map { $0.padded(to: $1) }.joined(separator: " ")
            while line.last == " " { line.removeLast() }
            return line
        }
    }

    /// What is compared, the least of which is chosen; nil where nothing is.
    private var cost: ((PacketDecision.Candidate) -> String?)? {
        guard decision.choices.contains(where: { [.comparison, .locality, .twoChoices].contains($0.choice.method) }),
            let scheduler = decision.service?.comparesBy
        else { return nil }
        func ratio(_ number: UInt64, _ weight: UInt16) -> String? {
            guard weight > 0 else { return nil }
            let hundredths = number * 100 / UInt64(weight)
            let rest = hundredths % 100
            return "\(hundredths / 100)" + (rest == 0 ? "" : ".\(rest < 10 ? "0" : "")\(rest)")
        }
        switch scheduler {
        case .sed, .nq: return { ratio(UInt64($0.active) + 1, $0.schedulerWeight) }
        case .lc:
            return { ratio(UInt64($0.active) << 8 + UInt64($0.inactive), $0.schedulerWeight == 0 ? 0 : 1) }
        case .wlc, .twos, .lblc, .lblcr:
            return { ratio(UInt64($0.active) << 8 + UInt64($0.inactive), $0.schedulerWeight) }
        default: return nil
        }
    }
}

// MARK: What goes out

extension ExplanationText {
    private var way: [String] {
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

    private var verdict: [String] {
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

    /// To a tenth.
    private func seconds(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) s"
    }
}
