import Addresses
import ArgumentParser
import Control
import Director
import HostState
import LoadBalancing

/// The table of `ipvsd status`.
enum StatusTable {
    static func text(_ status: DirectorStatus) -> String {
        var rows: [[String]] = [
            ["Prot", "VirtualAddress:Port", "Scheduler", "", "", "", "", "", "", ""],
            [
                "  ->", "RealServer", "Forward", "Weight", "ActiveConn", "InActConn", "Conns", "Packets", "Bytes",
                "Health",
            ],
        ]
        for service in status.services {
            for listener in service.listeners {
                let port = listener.port.map(String.init) ?? "any"
                rows.append([
                    listener.protocol?.rawValue.uppercased() ?? "ANY", "\(listener.vip):\(port)",
                    scheduling(service), "", "", "", "", "", "", "",
                ])
            }
            for server in service.servers {
                rows.append(
                    ["  ->", "\(server.address)", server.method, weight(server), "\(server.active)"]
                        + [
                            "\(server.inactive)", "\(server.connections)", "\(server.packets)", "\(server.bytes)",
                            health(server),
                        ])
            }
        }
        var lines = aligned(rows)
        for service in status.services {
            guard let quorum = service.quorum, let listener = service.listeners.first, !quorum.isUp else { continue }
            let port = listener.port.map { ":\($0)" } ?? ""
            lines.append(
                "\(listener.vip)\(port) has lost its quorum: usable weight \(quorum.weight), required \(quorum.required)"
                    + (quorum.hysteresis > 0 ? ", hysteresis \(quorum.hysteresis)" : "")
                    + (quorum.sorryServerServes ? "; the sorry server serves" : ""))
        }
        lines.append("")
        lines.append("received \(status.received), forwarded \(status.forwarded)")
        let reasons = status.reasons.merging(status.events) { one, _ in one }
        for (name, count) in reasons.sorted(by: { $0.key < $1.key }) where count > 0 {
            lines.append("  \(name) \(count)")
        }
        if let last = status.halfOpen.reachedLast, let since = status.halfOpen.reachedSince {
            lines.append(
                "  half-open connections reached their limit of \(status.halfOpen.limit), first at \(since), last at "
                    + "\(last); now there are \(status.halfOpen.now)")
        }
        if let templates = status.templates, let last = templates.reachedLast {
            lines.append(
                "  templates of persistent clients reached their limit of \(templates.limit), last at \(last); now there are "
                    + "\(templates.now)")
        }
        lines.append("XDP \(status.xdp.mode ?? "off") on \(status.xdp.interfaces.joined(separator: ", "))")
        for (name, errors) in status.xdp.transmitErrors.sorted(by: { $0.key < $1.key }) where errors > 0 {
            lines.append("  the driver of \(name) failed to send \(errors)")
        }
        for stray in status.strays ?? [] {
            lines.append(
                "  \(stray.packets) packets for \(stray.vip) came in by \(stray.interface), where the XDP program is not, the last at \(stray.last)"
            )
        }
        return lines.joined(separator: "\n")
    }

    /// Returns the words of a real server's health: its state, since when, and why.
    static func health(_ server: DirectorStatus.Server) -> String {
        var health = server.health.rawValue
        if let since = server.since { health += " since \(since)" }
        if let reason = server.reason { health += ": \(reason)" }
        if let since = server.drained { health += ", drained since \(since)" }
        if let end = server.heldUntil { health += ", held out until \(end)" }
        if let end = server.wholeShareAt { health += ", starts slowly until \(end)" }
        if server.isSorryServer { health = server.effectiveWeight == 1 ? "sorry server, serves" : "sorry server" }
        if server.overloaded, let upper = server.upperThreshold { health += ", overloaded (from \(upper) on)" }
        return health
    }

    /// Returns the weight column: EFFECTIVE/CONFIGURED if they differ and the server is neither down nor removed,
    /// otherwise the configured weight.
    static func weight(_ server: DirectorStatus.Server) -> String {
        guard let effective = server.effectiveWeight, server.health != .down, server.health != .removed,
            effective != Double(server.weight)
        else { return "\(server.weight)" }
        let shown = effective == effective.rounded() ? "\(Int(effective))" : "\(effective)"
        return "\(shown)/\(server.weight)"
    }

    /// Returns the scheduler and persistence in the form of `ipvsadm -Ln`.
    private static func scheduling(_ service: DirectorStatus.Service) -> String {
        var words = [service.scheduler.rawValue]
        if let seconds = service.persistence { words.append("persistent \(seconds)") }
        if let length = service.persistencePrefixLength, length < 32 { words.append("mask /\(length)") }
        if service.onePacket { words.append("ops") }
        return words.joined(separator: " ")
    }

    private static func aligned(_ rows: [[String]]) -> [String] {
        let widths = (0..<10).map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                // Columns of numbers are right-aligned.
                line += (3...8).contains(column) ? padding + cell + " " : cell + padding + " "
            }
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}

/// `ipvsd status`: services, real servers and counters.
struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show services, real servers and counters.",
        discussion: """
            The table is like that of 'ipvsadm -Ln --stats'. Where no daemon answers, it shows the kernel's maps, if there \
            are any.

            Exit code 3: no daemon answers.
            """)

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            try requireRoot()
            let instance = try common.instance()
            do {
                try show(try await ControlClient(socket: instance.controlSocket, timeoutSeconds: 3).status())
                return
            } catch let refusal as ControlClient.Refusal {
                throw Failure(.noDaemon, "\(refusal)")
            } catch {
                let why = try Failure.unanswered(error, instance).description
                guard
                    let (status, problem) = try Director.storedStatus(
                        instance: instance, dataPlanes: XDPDataPlanes())
                else {
                    throw Failure(.noDaemon, "\(why); there is no data plane")
                }
                try show(status)
                throw Failure(
                    .noDaemon,
                    "\(why); this is what the data plane says by itself"
                        + (problem.map { ", without drains: \($0)" } ?? ""))
            }
        }
    }

    private func show(_ status: DirectorStatus) throws {
        if json {
            print(String(decoding: try status.json(), as: UTF8.self))
        } else {
            print(StatusTable.text(status))
        }
    }
}
