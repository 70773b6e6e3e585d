import Addresses
import Director
import LoadBalancing
import XDPDataPlane

/// The lines about the choice of a real server, with the real servers' values that the scheduler compared.
extension ExplanationText {
    var scheduling: [String] {
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

    /// The table of real servers, as in `ipvsd status`.
    private var table: [String] {
        let cost = cost
        let candidates = Dictionary(
            decision.candidates.map { (IPAddress.v4($0.server), $0) }, uniquingKeysWith: { one, _ in one })
        let titles = ["", "RealServer", "Weight", "ActiveConn", "InActConn"]
        var rows = [titles + (cost == nil ? [] : ["Cost"]) + ["Health"]]
        for server in explanation.servers where server.health != .removed {
            let candidate = candidates[server.address]
            rows.append(
                [
                    server.address == decision.server.map(IPAddress.v4) ? "->" : "", "\(server.address)",
                    StatusTable.weight(server),
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

    /// A function that returns a candidate's cost as text. The scheduler chooses the least cost. Nil where the
    /// scheduler does not compare costs.
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
