internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// The health of services at a start, and when their configuration changes.
extension Director {
    func takeOverHealth(from found: DataPlaneSnapshot) throws {
        let answered = try answeredPorts(for: configuration)
        let (damping, problem) = dampingFile.read()
        if let problem { logger.error("\(problem)") }
        for service in configuration.services { logImpliedPing(of: service) }
        health.begin(
            configuration, found: found, damping: damping, answered: answered, overrides: overrides, at: clock.now)
    }

    /// Returns the transitions to tell once all has been applied.
    func followHealth(
        from old: DirectorConfiguration, to new: DirectorConfiguration
    ) throws -> Reconfiguration.Transitions {
        let change = Reconfiguration(
            old: old, new: new, answered: try answeredPorts(for: new), overrides: overrides, now: clock.now)
        for service in change.servicesWithFreshHealth() { logImpliedPing(of: service) }
        return health.follow(change)
    }

    /// Returns the learnt ports that have answered by now, of each service that learns ports.
    private func answeredPorts(
        for configuration: DirectorConfiguration
    ) throws -> [ServiceAddress: [IPv4Address: Set<UInt16>]] {
        guard let dataPlane = running?.dataPlane else { return [:] }
        var answered: [ServiceAddress: [IPv4Address: Set<UInt16>]] = [:]
        for service in configuration.services where service.learnsPorts {
            answered[service.address] = try dataPlane.answeredPorts(of: service.address)
        }
        return answered
    }

    private func logImpliedPing(of service: ConfiguredService) {
        guard service.impliesPing else { return }
        logger.notice(
            "\(service.address): 'auto' checks UDP by a ping; real servers are unproven until one answers (a check of type udp or dns asks the service)"
        )
    }

    // MARK: Damping that outlives the daemon, but no stop

    private var dampingFile: DampingFile { DampingFile(path: instance.damping) }

    /// Has damping saved soon: once for all that changes at a time.
    func saveDampingSoon() {
        guard running != nil, health.noteUnsavedDamping() else { return }
        Task { saveDamping() }
    }

    func saveDamping() {
        guard let entries = health.takeUnsavedDamping() else { return }
        do { try dampingFile.write(entries) } catch { logger.error("\(error)") }
    }
}
