internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// The data plane follows the configuration and the health of services.
extension Director {
    // MARK: All services

    /// Gives the data plane all services as they are wanted now.
    func applyServices() throws {
        try running?.dataPlane.apply(desiredServices)
    }

    /// Applies all services again after the data plane has refused a change.
    func applyOwedServices() throws {
        guard applier.owesServices else { return }
        try applyServices()
        applier.noteAllApplied()
    }

    /// Has all services applied again soon, after the data plane has refused what they are to be.
    func oweServices() { applier.noteRefusal() }

    var desiredServices: [DesiredService] { desiredServices { _ in true } }

    func desiredServices(where isWanted: (ConfiguredService) -> Bool) -> [DesiredService] {
        configuration.services.filter(isWanted).map { service in
            let state = health[service.address]
            var desired = DesiredService(service.forwarding, startsSlowly: service.policy.slowStart != nil)
            for server in service.servers {
                desired.effective[server.address] = state?.effectiveWeight(of: server.address)
                if maintenance.overrides.movesPersistent(server.address, in: service.forwarding) {
                    desired.movesPersistent.insert(server.address)
                }
                if maintenance.overrides.movesDatagrams(server.address, in: service.forwarding) {
                    desired.movesDatagrams.insert(server.address)
                }
            }
            if let sorry = service.policy.sorryServer {
                desired.configured.servers.append(RealServer(address: sorry))
                desired.effective[sorry] = .sorryServer(serves: state?.isReplaced ?? false)
            }
            return desired
        }
    }

    // MARK: Changes of health

    /// Has the data plane follow the changes soon, and the transitions told after that.
    func follow(_ changes: ServiceState.Changes, of service: ServiceAddress) {
        if changes.hasNewDamping { saveDampingSoon() }
        switch applier.note(changes, of: service, at: clock.now) {
        case .nothing: break
        case .apply: applyPending()
        case .wait(let turn, until: let end):
            Task {
                try? await clock.sleep(until: end)
                if applier.beginSweep(in: turn) { await sweepAndApply(in: turn) }
            }
        }
    }

    /// Has what is pending applied without a pause, so that the caller sees what clients get.
    func hurryPending() async {
        if let turn = applier.hurry() { await sweepAndApply(in: turn) }
    }

    private func sweepAndApply(in turn: Applier.Turn) async {
        await sweepForReturning()
        if applier.isDue(after: turn) { applyPending() }
    }

    /// Makes the data plane follow all that is pending, and tells it.
    func applyPending() {
        let batch = applier.take()
        guard !batch.isEmpty else { return }
        let began = clock.now
        do { try apply(batch) } catch {
            let names = batch.services.map(\.description).sorted().listed
            logger.error("apply the health of \(names): \(error)")
            oweServices()
        }
        tell(batch)
        applier.noteUpdate(from: began, to: clock.now)
    }

    /// Makes the data plane follow these services and all that is pending. The caller tells the batch.
    func applyNow(with services: Set<ServiceAddress>) throws -> Applier.Batch {
        applier.add(services)
        let batch = applier.take()
        try apply(batch)
        return batch
    }

    private func apply(_ batch: Applier.Batch) throws {
        try sweepAtOnce(for: batch.returning)
        try update(batch.services)
    }

    /// Gives the data plane these services as they are wanted now.
    func update(_ services: Set<ServiceAddress>) throws {
        try running?.dataPlane.update(desiredServices { services.contains($0.address) })
    }

    func tell(_ batch: Applier.Batch) {
        for (service, transition) in batch.transitions { self.transition(transition, of: service) }
    }
}
