internal import LoadBalancing

/// Writes what was imported as a configuration file.
struct ImportPrinter {
    let file: ImportedFile
    private var lines: [String] = []
    /// The services' first lines, from 1.
    private(set) var serviceLines: [Int] = []

    init(_ file: ImportedFile) {
        self.file = file
        head()
        for service in file.services { add(service) }
    }

    var text: String { lines.joined(separator: "\n") + "\n" }

    private mutating func comment(_ text: String, _ indent: String = "") {
        lines += YAMLText.comment(text, indent: indent)
    }

    private mutating func comment(_ remarks: [PlacedRemark], _ indent: String = "") {
        for remark in PlacedRemark.joined(remarks) {
            comment("\(text(remark.place)): \(remark.kind.rawValue): \(remark.text)", indent)
        }
    }

    /// Of the source itself, a line is enough.
    private func text(_ place: SourcePlace) -> String {
        place.file == file.name ? "line \(place.line)" : place.description
    }

    private mutating func head() {
        for text in file.comments { comment(text) }
        let remarks = file.remarks.sorted { $0.place < $1.place }
        if !remarks.isEmpty {
            lines.append("#")
            comment(remarks)
        }
        lines.append("")
        if let keeper = file.addressKeeper {
            lines.append("addresses: false  # \(YAMLText.printable(keeper))")
        }
        if let timeouts = file.timeouts {
            func text(_ seconds: Int) -> String { DurationText.format(.seconds(seconds)) }
            lines.append(
                "timeouts: {tcp: \(text(timeouts.tcp)), tcp-fin: \(text(timeouts.tcpFin)), udp: \(text(timeouts.udp))}")
        }
        lines.append("services:")
    }

    private mutating func add(_ service: ImportedService) {
        lines.append("")
        serviceLines.append(lines.count + 1)
        comment("\(text(service.place)): \(service.title)", "  ")
        // What is said of all its real servers, too.
        let shared = service.servers.flatMap { server in
            server.remarks.filter { $0.brief != nil && $0.place != server.place }
        }
        comment(service.remarks, "  ")
        var texts: Set<String> = []
        comment(shared.filter { texts.insert($0.text).inserted }, "  ")
        let listeners = service.listeners.map(\.description)
        lines.append(
            "  - listeners: \(listeners.count == 1 ? listeners[0] : "[\(listeners.joined(separator: ", "))]")")
        add("scheduler", service.scheduler.rawValue)
        if !service.flags.isEmpty { add("sched-flags", .list(service.flags.map(\.rawValue))) }
        if let persistence = service.persistence {
            let timeout = DurationText.format(.seconds(persistence.timeout))
            lines.append(
                persistence.prefixLength == 32
                    ? "    persistence: \(timeout)"
                    : "    persistence: {timeout: \(timeout), netmask: \(persistence.prefixLength)}")
        }
        if service.isOnePacket { add("one-packet", "true") }
        if service.inhibits { add("inhibit", "true") }
        if service.quorum != Quorum.Rule() {
            add("quorum", "\(service.quorum.required)")
            if service.quorum.hysteresis != 0 { add("hysteresis", "\(service.quorum.hysteresis)") }
        }
        if let sorry = service.sorryServer { add("sorry-server", sorry.description) }
        add(service.checks)
        if let notify = service.notify { add(notify) }
        lines.append("    servers:")
        for server in service.servers {
            comment(server.remarks.filter { $0.brief == nil }, "      ")
            let briefs = server.remarks.compactMap(\.brief).joined(separator: "; ")
            lines.append(
                "      - \(Self.text(server.server))" + (briefs.isEmpty ? "" : "  # \(YAMLText.printable(briefs))"))
        }
    }

    private mutating func add(_ key: String, _ value: String) { add(key, .text(value)) }

    private mutating func add(_ key: String, _ value: YAMLText.Value) {
        lines.append("    \(key): \(YAMLText.value(value))")
    }

    private mutating func add(_ checks: ImportedChecks) {
        guard case .listed(let checks) = checks, let first = checks.first else {
            add("check", checks == .none ? "none" : "auto")
            return
        }
        // A pace that all have is the service's.
        let isOne = checks.allSatisfy { $0.pace == first.pace }
        if isOne {
            for (key, value) in Self.fields(first.pace) { add(key, value) }
        }
        lines.append("    checks:")
        for check in checks {
            lines.append("      - \(Self.text(check, withPace: !isOne))")
        }
    }

    static func text(_ check: ImportedCheck, withPace: Bool) -> String {
        var fields = ["type: \(check.type.rawValue)"]
        fields += check.fields.map { "\($0.key): \(YAMLText.value($0.value))" }
        if check.isDirect { fields.append("via: direct") }
        if withPace { fields += Self.fields(check.pace).map { "\($0): \($1)" } }
        return "{\(fields.joined(separator: ", "))}"
    }

    /// In the order in which the file's parser judges them.
    private static func fields(_ pace: CheckPace) -> [(String, String)] {
        [
            ("interval", DurationText.format(pace.interval)), ("fast-interval", DurationText.format(pace.fastInterval)),
            ("timeout", DurationText.format(pace.timeout)), ("rise", "\(pace.rise)"), ("fall", "\(pace.fall)"),
        ]
    }

    private mutating func add(_ notify: ImportedNotification) {
        lines.append("    notify:")
        lines.append("      timeout: \(DurationText.format(notify.timeout))")
        if notify.tellsAtStart { lines.append("      at-start: true") }
        lines.append("      command:")
        for word in notify.command {
            guard YAMLText.isLiteral(word) else {
                lines.append("        - \(YAMLText.scalar(word))")
                continue
            }
            lines.append("        - |")
            lines += word.split(separator: "\n").map { "          \($0)" }
        }
    }

    private static func text(_ server: RealServer) -> String {
        var text = "\(server.address)=\(server.weight)"
        if let thresholds = server.thresholds {
            text += ":\(thresholds.upper)" + (thresholds.lower.map { "/\($0)" } ?? "")
        }
        return text
    }
}
