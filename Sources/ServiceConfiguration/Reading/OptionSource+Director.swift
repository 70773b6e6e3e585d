internal import LoadBalancing

/// What makes settings of the director and of its checks of options, from flags and from the file alike.
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

    /// Returns the kind of a service's one check; nil after an error.
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

/// The pace of checks as a source has it: its own, and what it inherits.
struct CheckPaceReading {
    private(set) var pace = CheckPace()
    /// Else the faster interval goes with the interval.
    private var hasFastInterval = false

    /// Reads the pace. Where a source shortens the interval alone, the inherited time-out is shortened with it. With any
    /// other interval goes another faster one.
    init(_ source: some OptionSource, inheriting base: CheckPaceReading? = nil, _ findings: inout Findings) {
        if let base { self = base }
        // A bad interval is an error of its own, and not the time-out's.
        var longest: Duration? = pace.interval
        if source.has(Options.checkInterval) {
            longest = source.value(of: Options.checkInterval, &findings)
            if let longest { pace.interval = longest }
            hasFastInterval = false
        }
        func judge(_ duration: Duration) throws(InvalidValue) {
            if let longest { try CheckPace.validate(duration, within: longest) }
        }
        if let value = source.value(of: Options.checkFastInterval, &findings, judge: judge) {
            pace.fastInterval = value
            hasFastInterval = true
        }
        if !hasFastInterval { pace.fastInterval = CheckPace.fastInterval(for: pace.interval) }
        if source.has(Options.checkTimeout) {
            if let value = source.value(of: Options.checkTimeout, &findings, judge: judge) { pace.timeout = value }
        } else {
            pace.timeout = min(pace.timeout, pace.interval)
        }
        source.read(Options.rise, into: &pace.rise, &findings)
        source.read(Options.fall, into: &pace.fall, &findings)
    }
}

extension Findings {
    /// Returns each listener once, after the repeated ones have been noted.
    mutating func unique(_ listeners: [SourceItem<ServiceAddress>], _ name: String) -> [ServiceAddress] {
        var taken: Set<ServiceAddress> = []
        return unique(listeners, name, taken: &taken)
    }

    /// The same beside listeners that are taken already.
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
