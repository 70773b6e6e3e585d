import Director
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
                var health = server.health.rawValue
                if let since = server.since { health += " since \(since)" }
                if let reason = server.reason { health += ": \(reason)" }
                if let since = server.drained { health += ", drained since \(since)" }
                if server.overloaded, let upper = server.upperThreshold { health += ", overloaded (from \(upper) on)" }
                rows.append(
                    ["  ->", "\(server.address)", server.method, "\(server.weight)", "\(server.active)"]
                        + [
                            "\(server.inactive)", "\(server.connections)", "\(server.packets)", "\(server.bytes)",
                            health,
                        ])
            }
        }
        var lines = aligned(rows)
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
        lines.append("XDP \(status.xdp.mode ?? "off") on \(status.xdp.interfaces.joined(separator: ", "))")
        for (name, errors) in status.xdp.transmitErrors.sorted(by: { $0.key < $1.key }) where errors > 0 {
            lines.append("  the driver of \(name) failed to send \(errors)")
        }
        return lines.joined(separator: "\n")
    }

    /// As `ipvsadm -Ln` has it.
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
                // Numbers stand to the right.
                line += (3...8).contains(column) ? padding + cell + " " : cell + padding + " "
            }
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}
