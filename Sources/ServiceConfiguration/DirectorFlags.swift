import LoadBalancing

/// The director's command line as it was typed, and its way to a configuration.
public struct DirectorFlags: Sendable {
    /// Each value is one or more services, parted by commas.
    public var vips: [String]
    /// Each value is one or more real servers, parted by commas; every VIP has all of them.
    public var backends: [String]
    public var scheduler = "wlc"
    /// Each value is one or more of IPVS's scheduler flags, parted by commas.
    public var schedulerFlags: [String] = []
    /// For every real server that has none of its own.
    public var upperThreshold: String?
    public var lowerThreshold: String?
    public var maglevSize: String?
    public var onServerLoss = "keep"
    public var oneService = false
    public var persistent: String?
    public var persistentNetmask: String?
    public var onePacket = false
    public var connections: String?
    public var tcpTimeout: String?
    public var tcpFinTimeout: String?
    public var udpTimeout: String?
    public var halfOpenLimit: String?
    /// Each value is one or more interfaces, parted by commas.
    public var interfaces: [String] = []
    public var xdp = "auto"
    public var check = "auto"
    public var checkInterval = "1s"
    public var checkFastInterval: String?
    public var checkTimeout = "0.7s"
    public var rise = "2"
    public var fall = "2"
    public var inhibit = false
    public var slowStart: String?
    public var flapDamping: String?
    /// A sum of weights, perhaps with a hysteresis behind a slash.
    public var quorum: String?
    public var sorryServer: String?
    public var noSYNWatch = false
    public var noAddress = false
    public var outerSourcePrefix: String?
    /// A program's absolute path.
    public var notify: String?
    public var metricsListen: String?

    public init(vips: [String] = [], backends: [String] = []) {
        self.vips = vips
        self.backends = backends
    }

    public func configuration() throws(ConfigurationErrors) -> DirectorConfiguration {
        var findings = Findings()
        let addresses = services(&findings)
        let servers = servers(apartFrom: Set(addresses.map(\.vip)), &findings)
        let scheduler: Scheduler? = choice(scheduler, flag: "--scheduler", name: "scheduler", &findings)
        let flags = flags(of: scheduler, &findings)
        let maglevSize = maglevSize.flatMap { text in
            findings.attempt(Self.place("--maglev-size", text)) { () throws(InvalidValue) in
                try AddressText.maglevSize(text, servers: servers.count)
            }
        }
        let onServerLoss: ServerLoss? = choice(onServerLoss, flag: "--on-server-loss", name: "way", &findings)
        let interfaces = interfaceNames(&findings)
        let outerSources = outerSourcePrefix.flatMap { text in
            findings.attempt(Self.place("--outer-source-prefix", text)) { () throws(InvalidValue) in
                try AddressText.outerSources(text)
            }
        }
        let xdp: XDPPreference? = choice(xdp, flag: "--xdp", name: "mode", &findings)
        let checks = checks(of: addresses, &findings)
        let persistence = persistence(&findings)
        if onePacket, !addresses.contains(where: { $0.transport != .tcp }) {
            findings.add("--one-packet", "no service takes UDP", accepted: "with an address/udp or one without a port")
        }
        let connections = number(
            connections, flag: "--connections", in: 1...ConnectionLimits.maximumConnections,
            problem: "no number of connections", &findings)
        let halfOpenLimit = number(
            halfOpenLimit, flag: "--half-open-limit", in: 0...Int(Int32.max), problem: "no number of connections",
            &findings)
        let timeouts = timeouts(&findings)
        let program = notify.flatMap { text in
            findings.attempt(Self.place("--notify", text)) { () throws(InvalidValue) in
                try NotificationScript.program(text)
            }
        }
        let metricsListen = metricsListen.flatMap { text in
            findings.attempt(Self.place("--metrics-listen", text)) { () throws(InvalidValue) in
                try ListenAddress(parsing: text)
            }
        }
        let policy = policy(scheduler, servers: servers, vips: Set(addresses.map(\.vip)), &findings)
        guard findings.errors.isEmpty, !addresses.isEmpty, let scheduler, let onServerLoss, let xdp, let checks else {
            throw ConfigurationErrors(findings.errors)
        }
        let groups = oneService ? [addresses] : addresses.map { [$0] }
        var configuration = DirectorConfiguration(
            services: groups.map {
                VirtualService(
                    address: $0[0], scheduler: scheduler, flags: flags, onServerLoss: onServerLoss,
                    persistence: persistence, isOnePacket: onePacket, otherAddresses: Array($0.dropFirst()),
                    maglevSize: maglevSize, servers: servers)
            },
            interfaces: interfaces, xdp: xdp, checks: checks,
            policies: policy == ServicePolicy()
                ? [:] : Dictionary(uniqueKeysWithValues: groups.map { ($0[0], policy) }),
            watchesSYNs: !noSYNWatch,
            managesAddress: !noAddress, outerSources: outerSources,
            connections: connections ?? ConnectionLimits.defaultConnections,
            timeouts: timeouts, halfOpenLimit: halfOpenLimit, metricsListen: metricsListen)
        if let program {
            for service in configuration.services {
                configuration.notifications[service.address] = NotificationScript(command: [program])
            }
        }
        return configuration
    }

    private func policy(
        _ scheduler: Scheduler?, servers: [RealServer], vips: Set<IPv4Address>, _ findings: inout Findings
    ) -> ServicePolicy {
        func value<Value>(
            _ text: String?, _ flag: String, _ body: (String) throws(InvalidValue) -> Value
        ) -> Value? {
            text.flatMap { text in
                findings.attempt(Self.place(flag, text)) { () throws(InvalidValue) in try body(text) }
            }
        }
        var policy = ServicePolicy(inhibits: inhibit)
        policy.slowStart =
            value(slowStart, "--slow-start") { text throws(InvalidValue) in
                if let scheduler { try PolicyText.slowStart(of: scheduler) }
                return try PolicyText.duration(text)
            } ?? nil
        policy.flapDamping =
            value(flapDamping, "--flap-damping") { text throws(InvalidValue) in try PolicyText.duration(text) } ?? nil
        let rule = value(quorum, "--quorum") { text throws(InvalidValue) in
            try PolicyText.rule(text, servers: servers)
        }
        if let rule { policy.quorum = rule }
        policy.sorryServer = value(sorryServer, "--sorry-server") { text throws(InvalidValue) in
            let address = try AddressText.address(text)
            try PolicyText.sorryServer(address, apartFrom: servers, vips: vips)
            return address
        }
        return policy
    }

    private func persistence(_ findings: inout Findings) -> Persistence? {
        let timeout = seconds(persistent, flag: "--persistent", in: Persistence.timeouts, &findings)
        guard let persistentNetmask else { return timeout.map { Persistence(timeout: $0) } }
        let length = findings.attempt(Self.place("--persistent-netmask", persistentNetmask)) {
            () throws(InvalidValue) in
            try AddressText.prefixLength(persistentNetmask)
        }
        if persistent == nil {
            findings.add("--persistent-netmask", "the service is not persistent", accepted: "with --persistent")
        }
        guard let timeout, let length else { return nil }
        return Persistence(timeout: timeout, prefixLength: length)
    }

    private func timeouts(_ findings: inout Findings) -> Timeouts {
        var timeouts = Timeouts()
        func take(_ text: String?, flag: String, into path: WritableKeyPath<Timeouts, Int>) {
            if let value = seconds(text, flag: flag, in: Timeouts.range, &findings) { timeouts[keyPath: path] = value }
        }
        take(tcpTimeout, flag: "--tcp-timeout", into: \.tcp)
        take(tcpFinTimeout, flag: "--tcp-fin-timeout", into: \.tcpFin)
        take(udpTimeout, flag: "--udp-timeout", into: \.udp)
        return timeouts
    }

    /// Whole seconds, written as a duration; nil where nothing is, or no good.
    private func seconds(
        _ text: String?, flag: String, in range: ClosedRange<Int>, _ findings: inout Findings
    ) -> Int? {
        guard let text else { return nil }
        return findings.attempt(Self.place(flag, text)) { () throws(InvalidValue) in
            let duration = try DurationText.parse(
                text, in: .seconds(range.lowerBound) ... .seconds(range.upperBound))
            guard duration.components.attoseconds == 0 else {
                throw InvalidValue("finer than a second", accepted: "whole seconds")
            }
            return Int(duration.components.seconds)
        }
    }

    private func number(
        _ text: String?, flag: String, in range: ClosedRange<Int>, problem: String, _ findings: inout Findings
    ) -> Int? {
        guard let text else { return nil }
        return findings.attempt(Self.place(flag, text)) { () throws(InvalidValue) in
            try AddressText.number(text, in: range, problem: problem)
        }
    }

    private func services(_ findings: inout Findings) -> [ServiceAddress] {
        var addresses: [ServiceAddress] = []
        for item in items(of: vips, flag: "--vip", accepted: AddressText.services, &findings) {
            let place = Self.place("--vip", item)
            let address = findings.attempt(place) { () throws(InvalidValue) in try AddressText.service(item) }
            guard let address else { continue }
            guard !addresses.contains(address) else {
                findings.add(place, "\(address) is given twice", accepted: "each service once")
                continue
            }
            addresses.append(address)
        }
        return addresses
    }

    private func servers(apartFrom vips: Set<IPv4Address>, _ findings: inout Findings) -> [RealServer] {
        let defaults = thresholds(&findings)
        var servers: [RealServer] = []
        var seen: Set<IPv4Address> = []
        for item in items(of: backends, flag: "--backends", accepted: AddressText.servers, &findings) {
            let place = Self.place("--backends", item)
            let server = findings.attempt(place) { () throws(InvalidValue) in
                try AddressText.server(item, defaults: defaults)
            }
            guard let server else { continue }
            if vips.contains(server.address) {
                findings.add(place, "\(server.address) is a VIP", accepted: "the real servers' own addresses")
            }
            if seen.insert(server.address).inserted {
                servers.append(server)
            } else {
                findings.add(place, "\(server.address) is given twice", accepted: "each real server once")
            }
        }
        return servers
    }

    private func thresholds(_ findings: inout Findings) -> ConnectionThresholds? {
        guard let upperThreshold else {
            if let lowerThreshold {
                findings.add(
                    Self.place("--l-threshold", lowerThreshold), "there is no upper threshold",
                    accepted: "with --u-threshold only")
            }
            return nil
        }
        let flags = [("--u-threshold", upperThreshold)] + (lowerThreshold.map { [("--l-threshold", $0)] } ?? [])
        let place = flags.map { Self.place($0, $1) }.joined(separator: " ")
        let thresholds = findings.attempt(place) { () throws(InvalidValue) in
            try AddressText.thresholds(upper: upperThreshold, lower: lowerThreshold)
        }
        return thresholds ?? nil
    }

    private func interfaceNames(_ findings: inout Findings) -> [String] {
        guard !interfaces.isEmpty else { return [] }
        var names: [String] = []
        for item in items(of: interfaces, flag: "--interface", accepted: InterfaceName.accepted, &findings) {
            let place = Self.place("--interface", item)
            findings.attempt(place) { () throws(InvalidValue) in try InterfaceName.validate(String(item)) }
            if names.contains(String(item)) {
                findings.add(place, "\(item) is given twice", accepted: "each interface once")
            }
            names.append(String(item))
        }
        return names
    }

    private func flags(of scheduler: Scheduler?, _ findings: inout Findings) -> Set<SchedulerFlag> {
        guard !schedulerFlags.isEmpty else { return [] }
        let accepted = AddressText.choices(of: SchedulerFlag.self)
        var flags: Set<SchedulerFlag> = []
        for item in items(of: schedulerFlags, flag: "--sched-flags", accepted: accepted, &findings) {
            let place = Self.place("--sched-flags", item)
            guard let flag = SchedulerFlag(rawValue: String(item)) else {
                findings.add(place, "unknown scheduler flag", accepted: accepted)
                continue
            }
            if let scheduler, flag.scheduler != scheduler {
                findings.add(
                    place, "the scheduler is \(scheduler.rawValue)", accepted: "with \(flag.scheduler.rawValue) only")
            }
            flags.insert(flag)
        }
        return flags
    }

    private func checks(of services: [ServiceAddress], _ findings: inout Findings) -> CheckPolicy? {
        let kind = findings.attempt(Self.place("--check", check)) { () throws(InvalidValue) in
            let kind = try CheckPolicy.Kind(parsing: check)
            if kind == .tcp(port: nil), let service = services.first(where: \.isAnyPort) {
                throw InvalidValue("the service \(service) has no port to connect to", accepted: "tcp:PORT")
            }
            return kind
        }
        let interval = findings.attempt(Self.place("--check-interval", checkInterval)) { () throws(InvalidValue) in
            try DurationText.parse(checkInterval)
        }
        let longest = interval ?? DurationText.accepted.upperBound
        let fastInterval = checkFastInterval.flatMap { text in
            findings.attempt(Self.place("--check-fast-interval", text)) { () throws(InvalidValue) in
                try CheckPace.duration(text, within: longest)
            }
        }
        let timeout = findings.attempt(Self.place("--check-timeout", checkTimeout)) { () throws(InvalidValue) in
            try CheckPace.duration(checkTimeout, within: longest)
        }
        let rise = number(rise, flag: "--rise", in: 1...100, problem: "no number of checks", &findings)
        let fall = number(fall, flag: "--fall", in: 1...100, problem: "no number of checks", &findings)
        guard let kind, let interval, let timeout, let rise, let fall else { return nil }
        return CheckPolicy(
            kind: kind,
            pace: CheckPace(
                interval: interval, fastInterval: fastInterval, timeout: timeout, rise: rise, fall: fall))
    }

    private func choice<Choice: CaseIterable & RawRepresentable<String>>(
        _ text: String, flag: String, name: String, _ findings: inout Findings
    ) -> Choice? {
        guard let choice = Choice(rawValue: text) else {
            findings.add(Self.place(flag, text), "unknown \(name)", accepted: AddressText.choices(of: Choice.self))
            return nil
        }
        return choice
    }

    /// The items of all of a flag's values, without the spaces around commas; a flag without any is an error.
    private func items(
        of values: [String], flag: String, accepted: String, _ findings: inout Findings
    ) -> [Substring] {
        guard !values.isEmpty else {
            findings.add(flag, "missing", accepted: accepted)
            return []
        }
        var items: [Substring] = []
        for value in values {
            let parts = value.split(separator: ",", omittingEmptySubsequences: false).map(Self.trimmed)
            if parts.contains(where: \.isEmpty) {
                findings.add(Self.place(flag, value), "an item is empty", accepted: accepted)
            }
            items += parts.filter { !$0.isEmpty }
        }
        return items
    }

    private static func trimmed(_ text: Substring) -> Substring {
        let start = text.drop { $0.isWhitespace }
        guard let last = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
        return start[...last]
    }

    private static func place(_ flag: String, _ value: some StringProtocol) -> String {
        "\(flag) \(AddressText.quoted(value))"
    }
}
