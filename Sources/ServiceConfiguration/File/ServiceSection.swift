internal import Addresses
internal import LoadBalancing

/// A service in a configuration file.
struct ServiceSection {
    let listeners: [SourceItem<ServiceAddress>]
    private let areAllValid: Bool
    private let section: YAMLSection
    private let pace: CheckPaceReading

    init(_ own: YAMLSection, defaults: YAMLSection?, pace: CheckPaceReading?, _ findings: inout Findings) {
        // The defaults that the service does not inherit here. Its own keys rule some of them out, and
        // `CheckPaceReading` inherits the pace.
        var excluded: [any DeclaredOption] = [
            Options.checkInterval, Options.checkFastInterval, Options.checkTimeout, Options.rise, Options.fall,
        ]
        if own.has(Options.check) || own.has(Options.checkList) { excluded += [Options.check, Options.checkList] }
        if own.has(Options.scheduler) { excluded += [Options.schedulerFlags, Options.maglevSize] }
        if own.has(Options.upperThreshold) { excluded.append(Options.lowerThreshold) }
        if own.has(Options.quorum) { excluded.append(Options.hysteresis) }
        section = own.inheriting(from: defaults, excluding: excluded)
        self.pace = CheckPaceReading(own, inheriting: pace, &findings)
        (listeners, areAllValid) = section.listeners(&findings)
    }

    /// Returns the service and the place of its real servers, or nil after an error. `vips` are the VIPs of all
    /// services.
    func service(
        vips: Set<IPAddress>, _ findings: inout Findings
    ) -> (service: ConfiguredService, placeOfServers: String)? {
        let addresses = listeners.compactMap { try? $0.value.get() }
        let service = section.service(
            listeners: addresses, areAllValid: areAllValid, apartFrom: vips, &findings)
        // Checks, notification and policy are read even after an error, so that all errors are noted.
        let checks = CheckSection.checks(section, pace: pace, listeners: areAllValid ? addresses : nil, &findings)
        let notification = section.notification(&findings)
        let policy = section.policy(of: service, apartFrom: vips, &findings)
        guard areAllValid, let service, let checks else { return nil }
        return (
            ConfiguredService(service, checks: checks, policy: policy, notification: notification),
            section[Options.servers]?.place ?? section.place
        )
    }

    /// Notes in `places` where the service's VIPs, real servers and sorry server are written.
    func note(_ places: inout WrittenPlaces, sorryServer: IPAddress?) {
        for item in listeners { if let vip = try? item.value.get().vip { places.note(vip: vip, item.place) } }
        // These findings are dropped, as `service(vips:_:)` has noted the same errors.
        var findings = Findings()
        for item in section.writtenServers(&findings) ?? [] {
            if let server = try? item.value.get().address { places.note(server: server, item.place) }
        }
        if let sorryServer { places.note(server: sorryServer, section.place(of: Options.sorryServer)) }
    }

    /// Notes errors in the defaults, even in values that no service inherits.
    static func validate(defaults: YAMLSection, _ findings: inout Findings) {
        defaults.noteBadValues(&findings)
        _ = defaults.thresholds(&findings)
        _ = defaults.persistence(&findings)
        _ = defaults.notification(&findings)
        _ = defaults.policy(of: nil, apartFrom: [], &findings)
    }
}
