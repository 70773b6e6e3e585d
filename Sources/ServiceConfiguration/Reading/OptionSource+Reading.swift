internal import Addresses
internal import LoadBalancing

/// The reading of services from options, with the same rules for flags and the file.
extension OptionSource {
    /// Returns the valid listeners with their places. `areAllValid` is false if a listener was refused, or if there is
    /// none.
    func listeners(
        _ findings: inout Findings
    ) -> (listeners: [SourceItem<ServiceAddress>], areAllValid: Bool) {
        guard let items = list(of: Options.listeners, &findings) else {
            noteMissing(Options.listeners, &findings)
            return ([], false)
        }
        let good = items.filter { item in findings.attempt(item.place, item.value.get) != nil }
        return (good, !items.isEmpty && good.count == items.count)
    }

    /// Returns the service, or nil if `listeners` is empty. `areAllValid` says whether no listener was refused, and
    /// `vips` are the addresses that no real server may have.
    func service(
        listeners: [ServiceAddress], areAllValid: Bool, apartFrom vips: Set<IPAddress>, _ findings: inout Findings
    ) -> VirtualService? {
        let servers = servers(apartFrom: vips, &findings)
        let scheduler = setting(of: Options.scheduler, &findings)
        let isKnown = !has(Options.scheduler) || isGood(Options.scheduler)
        let flags = flags(of: isKnown ? scheduler : nil, &findings)
        let maglevSize = value(of: Options.maglevSize, &findings) { size throws(InvalidValue) in
            try AddressText.maglevSize(size, servers: servers.count)
        }
        let persistence = persistence(&findings)
        // The other options are validated even if every listener was refused.
        let address = listeners.first ?? ServiceAddress(vip: .unspecified(.v4))
        var service = VirtualService(
            address: address, scheduler: scheduler, flags: flags, persistence: persistence,
            otherAddresses: Array(listeners.dropFirst()), maglevSize: maglevSize, servers: servers)
        read(Options.serviceSettings, into: &service, &findings)
        if service.isOnePacket, areAllValid, !listeners.contains(where: { $0.transport != .tcp }) {
            findings.add(
                place(of: Options.onePacket), "no \(Self.listenerName) takes UDP",
                accepted: "with an address/udp or one without a port")
        }
        return listeners.isEmpty ? nil : service
    }

    private func isGood<Value>(_ option: DirectorOption<Value>) -> Bool {
        if case .success = item(of: option)?.value { true } else { false }
    }

    /// Returns the scheduler flags, and refuses flags of another scheduler. Nil for `scheduler` means that its own
    /// value was refused, and accepts flags of any scheduler.
    private func flags(of scheduler: Scheduler?, _ findings: inout Findings) -> Set<SchedulerFlag> {
        let flags = (list(of: Options.schedulerFlags, &findings) ?? []).compactMap { item in
            findings.attempt(item.place) { () throws(InvalidValue) in
                let flag = try item.value.get()
                guard let scheduler, flag.scheduler != scheduler else { return flag }
                throw InvalidValue(
                    "the scheduler is \(scheduler.rawValue)", accepted: "with \(flag.scheduler.rawValue) only")
            }
        }
        return Set(flags)
    }

    func persistence(_ findings: inout Findings) -> Persistence? {
        let timeout = value(of: Options.persistent, &findings)
        let length = setting(of: Options.persistentNetmask, &findings)
        if has(Options.persistent) { return timeout.map { Persistence(timeout: $0, prefixLength: length) } }
        // A mapping in the file without a time-out means the default time-out.
        if hasMapping(around: Options.persistent) { return Persistence(prefixLength: length) }
        if has(Options.persistentNetmask) {
            findings.add(
                name(of: Options.persistentNetmask), "the service is not persistent",
                accepted: "with \(name(of: Options.persistent))")
        }
        return nil
    }

    // MARK: Real servers

    func thresholds(_ findings: inout Findings) -> ConnectionThresholds? {
        guard has(Options.upperThreshold) else {
            if has(Options.lowerThreshold) {
                findings.add(
                    place(of: Options.lowerThreshold), "there is no upper threshold",
                    accepted: "with \(name(of: Options.upperThreshold)) only")
            }
            return nil
        }
        let upper = value(of: Options.upperThreshold, &findings)
        let lower = value(of: Options.lowerThreshold, &findings)
        guard let upper else { return nil }
        return findings.attempt(place(of: Options.upperThreshold, Options.lowerThreshold)) { () throws(InvalidValue) in
            try AddressText.thresholds(upper: upper, lower: lower)
        } ?? nil
    }

    private func servers(apartFrom vips: Set<IPAddress>, _ findings: inout Findings) -> [RealServer] {
        let weight = value(of: Options.weight, &findings).map(UInt16.init)
        let thresholds = thresholds(&findings)
        guard let items = writtenServers(&findings) else {
            noteMissing(Options.servers, &findings)
            return []
        }
        var servers: [RealServer] = []
        var known: Set<IPAddress> = []
        for item in items {
            guard let written = findings.attempt(item.place, item.value.get) else { continue }
            let server = written.server(weight: weight, thresholds: thresholds)
            if vips.contains(server.address) {
                findings.add(item.place, "\(server.address) is a VIP", accepted: "the real servers' own addresses")
            }
            if known.insert(server.address).inserted {
                servers.append(server)
            } else {
                findings.add(item.place, "\(server.address) is given twice", accepted: "each real server once")
            }
        }
        return servers
    }

    // MARK: Policy and notification

    /// Returns the policy. If `service` is nil, the policy is not compared with the service's scheduler and real
    /// servers.
    func policy(
        of service: VirtualService?, apartFrom vips: Set<IPAddress>, _ findings: inout Findings
    ) -> ServicePolicy {
        var policy = ServicePolicy()
        read(Options.policySettings, into: &policy, &findings)
        let slowStart = value(of: Options.slowStart, &findings) { duration throws(InvalidValue) in
            // A slow start from the file's defaults is not an error for a scheduler without shares, and has no effect
            // there.
            guard duration != nil, let service, !isInherited(Options.slowStart) else { return }
            try PolicyText.slowStart(of: service.scheduler)
        }
        policy.slowStart = service?.scheduler.hasShares == false ? nil : slowStart ?? nil
        let hysteresis = value(of: Options.hysteresis, &findings) { text throws(InvalidValue) in
            _ = try PolicyText.hysteresis(text, quorum: policy.quorum.required)
        }
        if let hysteresis = hysteresis.flatMap({ Int($0) }) { policy.quorum.hysteresis = hysteresis }
        if let service, isGood(Options.quorum) {
            findings.attempt(place(of: Options.quorum)) { () throws(InvalidValue) in
                try PolicyText.quorum(policy.quorum, of: service.servers)
            }
        }
        policy.sorryServer = value(of: Options.sorryServer, &findings) { server throws(InvalidValue) in
            guard let service else { return }
            try PolicyText.sorryServer(server, apartFrom: service.servers, vips: vips)
        }
        return policy
    }

    func notification(_ findings: inout Findings) -> NotificationScript? {
        let timeout = setting(of: Options.notifyTimeout, &findings)
        let tellsAtStart = value(of: Options.notifyAtStart, &findings) ?? false
        guard has(Options.notify) else {
            if hasMapping(around: Options.notify) {
                let key = name(of: Options.notify)
                findings.add(
                    place(of: Options.notifyMapping), "there is no \(key)", accepted: "\(key): [/path, ARGUMENT]")
            } else if tellsAtStart {
                findings.add(
                    place(of: Options.notifyAtStart), "there is no program",
                    accepted: "with \(name(of: Options.notify))")
            }
            return nil
        }
        guard let command = notifyCommand(&findings) else { return nil }
        return NotificationScript(command: command, timeout: timeout, tellsAtStart: tellsAtStart)
    }

    /// Returns the program and its arguments, or nil for "none" and after an error.
    private func notifyCommand(_ findings: inout Findings) -> [String]? {
        let accepted = Options.notify.accepted
        guard let items = list(of: Options.notify, &findings), let first = items.first else {
            findings.add(place(of: Options.notify), "an empty list", accepted: accepted)
            return nil
        }
        let words = items.compactMap { findings.attempt($0.place, $0.value.get) }
        guard words.count == items.count, words != ["none"] else { return nil }
        let files = findings.files
        let program = findings.attempt(first.place) { () throws(InvalidValue) in
            try files.program(try NotificationScript.program(words[0]))
        }
        guard program != nil else { return nil }
        if words.contains(where: { $0.utf8.contains(0) }) {
            findings.add(first.place, "an argument has a NUL", accepted: accepted)
            return nil
        }
        return words
    }
}

/// The settings of the director and of its checks.
extension OptionSource {
    /// Reads the settings of the director itself.
    func readSettings(into configuration: inout DirectorConfiguration, _ findings: inout Findings) {
        configuration.interfaces = interfaceNames(&findings)
        read(Options.settings, into: &configuration, &findings)
    }

    private func interfaceNames(_ findings: inout Findings) -> [String] {
        var names: [String] = []
        for item in list(of: Options.interfaces, &findings) ?? [] {
            guard let name = findings.attempt(item.place, item.value.get) else { continue }
            if names.contains(name) {
                findings.add(item.place, "\(name) is given twice", accepted: "each interface once")
            }
            names.append(name)
        }
        return names
    }

    /// Returns the kind of the check of a service without a list of checks, or nil after an error.
    func checkKind(
        listeners: some Collection<ServiceAddress>, _ findings: inout Findings
    ) -> CheckPolicy.Kind? {
        let kind = value(of: Options.check, &findings) { kind throws(InvalidValue) in
            if kind == .tcp(port: nil), let listener = listeners.first(where: \.isAnyPort) {
                throw InvalidValue("the service \(listener) has no port to connect to", accepted: "tcp:PORT")
            }
        }
        return kind ?? (has(Options.check) ? nil : Options.check.standard)
    }
}

/// The pace of checks that a source gives, with inherited values where the source has none.
struct CheckPaceReading {
    private(set) var pace = CheckPace()
    /// Whether the fast interval was given. Otherwise it is computed from the interval.
    private var hasFastInterval = false

    /// Reads the pace from `source`, and inherits missing values from `base`. An interval shorter than the inherited
    /// time-out shortens the time-out. An interval also replaces an inherited fast interval by the default.
    init(_ source: some OptionSource, inheriting base: CheckPaceReading? = nil, _ findings: inout Findings) {
        if let base { self = base }
        // The upper limit of the time-out and of the fast interval. It is nil after a bad interval, so that nothing is
        // compared with that.
        var longest: Duration? = pace.interval
        if source.has(Options.checkInterval) {
            longest = source.value(of: Options.checkInterval, &findings)
            if let longest { pace.interval = longest }
            hasFastInterval = false
        }
        func validate(_ duration: Duration) throws(InvalidValue) {
            if let longest { try CheckPace.validate(duration, within: longest) }
        }
        if let value = source.value(of: Options.checkFastInterval, &findings, validate: validate) {
            pace.fastInterval = value
            hasFastInterval = true
        }
        if !hasFastInterval { pace.fastInterval = CheckPace.fastInterval(for: pace.interval) }
        if source.has(Options.checkTimeout) {
            if let value = source.value(of: Options.checkTimeout, &findings, validate: validate) {
                pace.timeout = value
            }
        } else {
            pace.timeout = min(pace.timeout, pace.interval)
        }
        source.read(Options.rise, into: &pace.rise, &findings)
        source.read(Options.fall, into: &pace.fall, &findings)
    }
}

extension Findings {
    /// Returns each listener once, and notes an error for each repetition. `name` is the noun for a listener.
    mutating func unique(_ listeners: [SourceItem<ServiceAddress>], _ name: String) -> [ServiceAddress] {
        var taken: Set<ServiceAddress> = []
        return unique(listeners, name, taken: &taken)
    }

    /// Returns the listeners that are not in `taken`, and adds them to it. Notes an error for each other listener.
    mutating func unique(
        _ listeners: [SourceItem<ServiceAddress>], _ name: String, taken: inout Set<ServiceAddress>
    ) -> [ServiceAddress] {
        var addresses: [ServiceAddress] = []
        for item in listeners {
            guard case .success(let address) = item.value else { continue }
            guard taken.insert(address).inserted else {
                add(item.place, "\(address) is given twice", accepted: "each \(name) once")
                continue
            }
            addresses.append(address)
        }
        return addresses
    }
}
