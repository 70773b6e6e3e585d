internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// The import of ipvsadm's rules, which are applied in their order, as in the kernel.
struct RulesImport {
    private struct Entry {
        var rule: Rule
        var servers: [Rule] = []
    }

    private let options: Import
    private let names: ImportNames
    private let errors = ImportErrors()
    private var entries: [Entry] = []
    private var file: ImportedFile

    init(_ options: Import, name: String) {
        self.options = options
        file = ImportedFile(name: name)
        names = ImportNames(surroundings: options.surroundings)
    }

    static let comments = [
        "IPVS checks no real servers; ipvsd does, through the tunnel to the VIP "
            + "(\(Options.check.field(.auto)); none for as it was).",
        "What 'ipvsadm -S' does not print is not here: thresholds (ipvsadm -L --thresholds), time-outs (-L --timeout), "
            + "synchronisation (-L --daemon).",
    ]

    func read(_ text: String) throws(ConfigurationErrors) -> ImportedFile {
        var reader = self
        reader.file.comments = ["Made by 'ipvsd import' of ipvsadm's rules in \(file.name)."] + Self.comments
        let lines = text.utf8.split(separator: 10, omittingEmptySubsequences: false).map { Substring($0) }
        for (index, line) in lines.enumerated() {
            let place = SourcePlace(file: file.name, line: index + 1, order: index)
            reader.errors.attempt(place) { () throws(InvalidValue) in
                if line.hasPrefix("IP Virtual Server version") {
                    throw InvalidValue("this is what 'ipvsadm -L' prints", accepted: "what 'ipvsadm -S -n' prints")
                }
                guard let rule = try RuleParser.rule(line, place: place) else { return }
                try reader.apply(rule)
            }
        }
        for entry in reader.entries { reader.add(entry) }
        try reader.errors.check()
        return reader.file
    }

    // MARK: The kernel's table

    private mutating func apply(_ rule: Rule) throws(InvalidValue) {
        switch rule.command {
        case .addService:
            if let before = try entry(of: rule) {
                throw InvalidValue(
                    "the service is there already, since \(entries[before].rule.place)", accepted: "each service once")
            }
            entries.append(Entry(rule: rule))
        case .editService: entries[try known(rule)].rule = rule
        case .deleteService: entries.remove(at: try known(rule))
        case .clear: entries = []
        case .addServer:
            let index = try known(rule)
            if let before = try server(of: rule, in: index) {
                throw InvalidValue(
                    "the real server is there already, since \(entries[index].servers[before].place)",
                    accepted: "each real server once")
            }
            entries[index].servers.append(rule)
        case .editServer:
            let index = try known(rule)
            entries[index].servers[try knownServer(rule, in: index)] = rule
        case .deleteServer:
            let index = try known(rule)
            entries[index].servers.remove(at: try knownServer(rule, in: index))
        case .zero, .stopDaemon: break
        case .setTimeouts: try setTimeouts(rule)
        case .startDaemon:
            file.remarks.append(
                PlacedRemark(
                    .left, rule.place,
                    "--start-daemon \(rule.arguments.joined()): ipvsd does not synchronise connections with another "
                        + "director; with the scheduler mh each director chooses the same real servers"))
        }
    }

    private func entry(of rule: Rule) throws(InvalidValue) -> Int? {
        guard let service = rule.service else {
            throw InvalidValue("no service", accepted: "-t A.B.C.D:PORT, -u A.B.C.D:PORT or -f MARK")
        }
        return entries.firstIndex { $0.rule.service == service && $0.rule.isIPv6 == rule.isIPv6 }
    }

    private func known(_ rule: Rule) throws(InvalidValue) -> Int {
        guard let index = try entry(of: rule) else {
            throw InvalidValue("there is no such service", accepted: "one that -A has added before")
        }
        return index
    }

    private func server(of rule: Rule, in index: Int) throws(InvalidValue) -> Int? {
        guard let server = rule.server else { throw InvalidValue("no real server", accepted: "-r A.B.C.D[:PORT]") }
        return entries[index].servers.firstIndex { $0.server == server }
    }

    private func knownServer(_ rule: Rule, in index: Int) throws(InvalidValue) -> Int {
        guard let place = try server(of: rule, in: index) else {
            throw InvalidValue("the service has no such real server", accepted: "one that -a has added before")
        }
        return place
    }

    /// Sets the time-outs. A value of 0 leaves the time-out as it is.
    private mutating func setTimeouts(_ rule: Rule) throws(InvalidValue) {
        guard rule.arguments.count == 3 else {
            throw InvalidValue("--set takes three numbers", accepted: "--set TCP TCPFIN UDP, in seconds")
        }
        var timeouts = file.timeouts ?? Timeouts()
        let paths: [WritableKeyPath<Timeouts, Int>] = [\.tcp, \.tcpFin, \.udp]
        for (path, text) in zip(paths, rule.arguments) {
            let seconds = try ImportNumbers.seconds(text)
            guard seconds > 0 else { continue }
            timeouts[keyPath: path] = min(seconds, Timeouts.range.upperBound)
            if seconds > Timeouts.range.upperBound {
                file.remarks.append(
                    PlacedRemark(
                        .changed, rule.place,
                        "--set: a time-out of \(seconds) s becomes \(Timeouts.range.upperBound) s, "
                            + "the longest"))
            }
        }
        file.timeouts = timeouts
    }

    // MARK: Services

    private mutating func add(_ entry: Entry) {
        let rule = entry.rule
        var service = ImportedService(place: rule.place, title: Self.title(of: rule))
        var transport = TransportProtocol.tcp
        errors.attempt(rule.place) { () throws(InvalidValue) in
            switch rule.service {
            case .tcp(let text): try listen(text, .tcp, &service)
            case .udp(let text):
                transport = .udp
                try listen(text, .udp, &service)
            case .sctp:
                service.remark(.left, rule.place, "\(service.title): ipvsd has no services of SCTP")
            case .mark(let text):
                let mark = try ImportNumbers.mark(text)
                ImportMarks.listen(to: mark, isIPv6: rule.isIPv6, at: rule.place, options, &service)
            case nil: break
            }
        }
        // A service without listeners is scheduled for its errors only.
        var scheduled = service
        errors.attempt(rule.place) { () throws(InvalidValue) in try schedule(rule, &scheduled) }
        if !service.listeners.isEmpty { service = scheduled }
        for server in entry.servers {
            errors.attempt(server.place) { () throws(InvalidValue) in
                try addServer(server, transport: transport, to: &service)
            }
        }
        file.services.append(service)
    }

    static func title(of rule: Rule) -> String {
        switch rule.service {
        case .tcp(let text): "-t \(text)"
        case .udp(let text): "-u \(text)"
        case .sctp(let text): "--sctp-service \(text)"
        case .mark(let text): "-f \(text)" + (rule.isIPv6 ? " -6" : "")
        case nil: "no service"
        }
    }

    private func listen(
        _ text: String, _ transport: TransportProtocol, _ service: inout ImportedService
    ) throws(InvalidValue) {
        var notes: [String] = []
        let (host, port) = try names.endpoint(text, transport: transport) { notes.append($0) }
        for note in notes { service.remark(.note, service.place, note) }
        switch host {
        case .ipv6: service.remark(.left, service.place, "\(service.title): ipvsd balances IPv4 only")
        case .ipv4(let vip):
            if let problem = ImportNames.problem(of: vip) {
                service.remark(.left, service.place, "\(service.title): \(vip) is no VIP: \(problem)")
            } else {
                service.listeners = [ImportedListener(vip: vip, port: port, transport: transport)]
            }
        }
    }

    private func schedule(_ rule: Rule, _ service: inout ImportedService) throws(InvalidValue) {
        ImportScheduling.set(scheduler: rule.scheduler ?? "wlc", at: rule.place, &service)
        if let flags = rule.flags {
            let words = flags.split(separator: ",").map(String.init)
            ImportScheduling.set(flags: words, at: rule.place, &service)
        }
        if rule.isOnePacket { ImportScheduling.setOnePacket(at: rule.place, &service) }
        if let persistence = rule.persistence {
            let seconds = persistence.isEmpty ? 360 : try ImportNumbers.seconds(persistence)
            ImportScheduling.set(persistence: seconds, netmask: rule.netmask, at: rule.place, &service)
        }
        if let engine = rule.engine { ImportScheduling.refuse(engine: engine, at: rule.place, &service) }
    }

    // MARK: Real servers

    private func addServer(
        _ rule: Rule, transport: TransportProtocol, to service: inout ImportedService
    ) throws(InvalidValue) {
        var notes: [String] = []
        let (host, port) = try names.endpoint(rule.server ?? "", transport: transport) { notes.append($0) }
        let weight = try rule.weight.map { text throws(InvalidValue) in try ImportNumbers.weight(text) } ?? 1
        let upper = try rule.upper.map { text throws(InvalidValue) in try ImportNumbers.threshold(text) } ?? 0
        let lower = try rule.lower.map { text throws(InvalidValue) in try ImportNumbers.threshold(text) } ?? 0
        // A service without listeners has a remark of its own.
        guard !service.listeners.isEmpty else { return }
        guard case .ipv4(let address) = host else {
            service.remark(.left, rule.place, "real server \(rule.server ?? ""): ipvsd's tunnels are IPv4's")
            return
        }
        if let problem = ImportNames.problem(of: address) {
            service.remark(.left, rule.place, "real server \(address): \(problem)")
            return
        }
        var server = ImportedServer(place: rule.place, server: RealServer(address: address))
        for note in notes { server.remark(.note, note) }
        ImportServers.set(weight: weight, &server)
        ImportServers.set(upper: upper, lower: lower, &server)
        func way(_ title: String) -> ImportServers.Way {
            ImportServers.Way(title: title, place: rule.place, isServers: true)
        }
        switch rule.forwarding {
        case .gatewaying:
            ImportServers.replaceGatewaying(way(rule.hasForwarding ? "-g" : "-g, the default,"), service, &server)
        case .masquerading: ImportServers.replaceMasquerading(way("-m"), port: port, service, &server)
        case .tunnel:
            if let type = rule.tunnel, type != "ipip" {
                ImportServers.replaceTunnel(type: type, way("--tun-type \(type)"), service, &server)
            }
        }
        service.servers.append(server)
    }
}
