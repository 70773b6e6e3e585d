internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// The printer of imported services as a configuration file.
struct ImportPrinter {
    let file: ImportedFile
    private var lines: [String] = []
    /// The number of each service's first line, which is a comment. The file's first line has the number 1.
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

    /// Returns a place's text: the line's number in the source itself, or the path and number in an included file.
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
            lines.append("\(Options.addresses.field(false))  # \(YAMLText.printable(keeper))")
        }
        if let timeouts = file.timeouts {
            let fields = [
                Options.tcpTimeout.field(timeouts.tcp), Options.tcpFinTimeout.field(timeouts.tcpFin),
                Options.udpTimeout.field(timeouts.udp),
            ]
            lines.append(Self.line(Options.timeouts, Self.mapping(fields)))
        }
        lines.append(Self.line(Options.serviceList))
    }

    private mutating func add(_ service: ImportedService) {
        lines.append("")
        serviceLines.append(lines.count + 1)
        comment("\(text(service.place)): \(service.title)", "  ")
        // A short remark on a line other than the real server's own may hold for several real servers. It stands once
        // above the service.
        let shared = service.servers.flatMap { server in
            server.remarks.filter { $0.brief != nil && $0.place != server.place }
        }
        comment(service.remarks, "  ")
        var texts: Set<String> = []
        comment(shared.filter { texts.insert($0.text).inserted }, "  ")
        let listeners = service.listeners.map(\.description)
        let list = listeners.count == 1 ? listeners[0] : "[\(listeners.joined(separator: ", "))]"
        lines.append("  - \(Self.line(Options.listeners, list))")
        add(Options.scheduler, service.forwarding.scheduler)
        if !service.flags.isEmpty {
            add(Options.schedulerFlags, .list(service.flags.map(Options.schedulerFlags.syntax.format)))
        }
        if let persistence = service.forwarding.persistence { add(persistence) }
        add(Options.serviceSettings, of: service.forwarding, unlike: ImportedService.plain)
        // The hysteresis has a line of its own.
        var policy = service.policy
        policy.quorum.hysteresis = 0
        add(Options.policySettings, of: policy, unlike: ServicePolicy())
        let hysteresis = service.policy.quorum.hysteresis
        if hysteresis != 0 { add(Options.hysteresis, "\(hysteresis)") }
        if let sorry = service.policy.sorryServer { add(Options.sorryServer, sorry) }
        add(service.checks)
        if let notify = service.notify { add(notify) }
        lines.append("    \(Self.line(Options.servers))")
        for server in service.servers {
            comment(server.remarks.filter { $0.brief == nil }, "      ")
            let briefs = server.remarks.compactMap(\.brief).joined(separator: "; ")
            lines.append(
                "      - \(Options.servers.syntax.format(WrittenServer(server.server)))"
                    + (briefs.isEmpty ? "" : "  # \(YAMLText.printable(briefs))"))
        }
    }

    // MARK: Keys and values

    private mutating func add<Value>(_ option: DirectorOption<Value>, _ value: Value) {
        lines.append("    \(option.field(value))")
    }

    private mutating func add(_ option: any DeclaredOption, _ value: YAMLText.Value) {
        lines.append("    \(Self.line(option, YAMLText.value(value)))")
    }

    /// Adds the values of `target` that differ from the values of `standard`.
    private mutating func add<Target>(_ settings: [Setting<Target>], of target: Target, unlike standard: Target) {
        for setting in settings {
            guard let text = setting.text(of: target, unlike: standard) else { continue }
            add(setting.option, .text(text))
        }
    }

    /// Returns a key with its value. If `value` is empty, the value follows on the next lines.
    private static func line(_ option: any DeclaredOption, _ value: String = "") -> String {
        "\(option.keyName):" + (value.isEmpty ? "" : " \(value)")
    }

    private static func mapping(_ fields: [String]) -> String { "{\(fields.joined(separator: ", "))}" }

    // MARK: Parts of a service

    private mutating func add(_ persistence: Persistence) {
        let timeout = Options.persistent.syntax.format(persistence.timeout)
        let whole = Self.mapping([
            Options.persistent.field(persistence.timeout),
            Options.persistentNetmask.field(persistence.prefixLength),
        ])
        let isPlain = persistence.prefixLength == Options.persistentNetmask.standard
        lines.append("    \(Self.line(Options.persistenceMapping, isPlain ? timeout : whole))")
    }

    private mutating func add(_ checks: ImportedChecks) {
        guard case .listed(let checks) = checks, let first = checks.first else {
            add(Options.check, checks == .none ? .none : .auto)
            return
        }
        // A pace that all checks share is written once, as the service's.
        let isOne = checks.allSatisfy { $0.pace == first.pace }
        if isOne { lines += Self.fields(first.pace).map { "    \($0)" } }
        lines.append("    \(Self.line(Options.checkList))")
        for check in checks {
            lines.append("      - \(Self.text(check, withPace: !isOne))")
        }
    }

    static func text(_ check: ImportedCheck, withPace: Bool) -> String {
        var fields = [Options.checkType.field(check.type)]
        fields += check.fields.map { "\($0.key): \(YAMLText.value($0.value))" }
        if check.isDirect { fields.append(Options.via.field(.direct)) }
        if withPace { fields += Self.fields(check.pace) }
        return mapping(fields)
    }

    /// Returns the pace's fields in the order in which the file's parser reads them.
    private static func fields(_ pace: CheckPace) -> [String] {
        [
            Options.checkInterval.field(pace.interval), Options.checkFastInterval.field(pace.fastInterval),
            Options.checkTimeout.field(pace.timeout), Options.rise.field(pace.rise), Options.fall.field(pace.fall),
        ]
    }

    private mutating func add(_ notify: NotificationScript) {
        lines.append("    \(Self.line(Options.notifyMapping))")
        lines.append("      \(Options.notifyTimeout.field(notify.timeout))")
        if notify.tellsAtStart { lines.append("      \(Options.notifyAtStart.field(true))") }
        lines.append("      \(Self.line(Options.notify))")
        for word in notify.command {
            guard YAMLText.isLiteral(word) else {
                lines.append("        - \(YAMLText.scalar(word))")
                continue
            }
            lines.append("        - |")
            lines += word.split(separator: "\n").map { "          \($0)" }
        }
    }
}
