internal import Addresses
internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// The health of services at a start, at changes of configuration and drains, and as time passes.
extension Director {
    func takeOverHealth(from found: DataPlaneSnapshot) throws {
        let answered = try answeredPorts(for: configuration)
        let (damping, problem) = dampingFile.read()
        if let problem { logger.error("\(problem)", metadata: ["path": "\(dampingFile.path)"]) }
        for service in configuration.services { logImpliedPing(of: service) }
        health.begin(
            configuration, found: found, damping: damping, answered: answered, overrides: maintenance.overrides,
            at: clock.now)
    }

    /// Moves health to another configuration. Returns the transitions to log and publish after the update.
    func reconfigureHealth(
        from old: DirectorConfiguration, to new: DirectorConfiguration
    ) throws -> Reconfiguration.Transitions {
        let change = Reconfiguration(
            old: old, new: new, answered: try answeredPorts(for: new), overrides: maintenance.overrides, now: clock.now)
        for service in change.servicesWithFreshHealth() { logImpliedPing(of: service) }
        return health.reconfigure(change)
    }

    /// Restores health from before a refused change.
    func restoreHealth(_ former: HealthSupervisor) { health = former }

    /// Returns the learnt ports that have answered by now, by real server, for each service that learns ports.
    private func answeredPorts(
        for configuration: DirectorConfiguration
    ) throws -> [ServiceAddress: [IPAddress: Set<UInt16>]] {
        guard let dataPlane = running?.dataPlane else { return [:] }
        var answered: [ServiceAddress: [IPAddress: Set<UInt16>]] = [:]
        for service in configuration.services where service.learnsPorts {
            answered[service.address] = try dataPlane.answeredPorts(of: service.address)
        }
        return answered
    }

    private func logImpliedPing(of service: ConfiguredService) {
        guard service.impliesPing else { return }
        logger.notice(
            "\(service.address): 'auto' checks UDP by a ping; real servers are unproven until one answers (a check of type udp or dns asks the service)",
            metadata: ["service": "\(service.address)"])
    }

    // MARK: Time, clients and operators

    /// Advances slow starts, and ends holds of flap damping, ten times a second until cancelled.
    func watchTime() async {
        while !Task.isCancelled {
            for (service, changes) in health.advance(to: clock.now) { apply(changes, of: service) }
            try? await clock.sleep(for: .milliseconds(100))
        }
    }

    /// Learns the ports of any-port services that clients use. Called every second.
    func learnPorts() throws {
        guard let dataPlane = running?.dataPlane else { return }
        var hasNewQuestions = false
        defer { if hasNewQuestions { updateRounds() } }
        let learnt = try dataPlane.learntPorts().filter { configuration[$0.key]?.learnsPorts == true }
        try learnt.forEachDespiteErrors { service, ports in
            // Recent ports come first. The others are shuffled, so that a client of closed ports cannot keep an open
            // port waiting for ever.
            let ordered = Array(ports.prefix(4)) + ports.shuffled()
            guard let learning = health.learn(ordered, of: service, at: clock.now) else { return }
            apply(learning.changes, of: service)
            if learning.hasNewQuestions { hasNewQuestions = true }
            try dataPlane.forgetLearntPorts(learning.forgotten, of: service)
        }
    }

    /// Applies the drains of a service to its weights.
    func updateDrained(of service: ConfiguredService) {
        let drained = maintenance.overrides.drained(of: service.forwarding)
        if let changes = health.setDrained(drained, of: service.address, at: clock.now) {
            apply(changes, of: service.address)
        }
    }

    // MARK: Damping across daemons, until a stop

    private var dampingFile: DampingFile { DampingFile(path: instance.damping) }

    /// Schedules one write of damping for all changes until the write.
    func saveDampingSoon() {
        guard running != nil, health.noteUnsavedDamping() else { return }
        Task { saveDamping() }
    }

    func saveDamping() {
        guard let entries = health.takeUnsavedDamping() else { return }
        do { try dampingFile.write(entries) } catch {
            logger.error("\(error)", metadata: ["path": "\(dampingFile.path)", "error": "\(error)"])
        }
    }
}
