internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// The changes of health that wait for an update of the data plane, and the time of that update. The type has no clock:
/// the caller passes the time.
///
/// Changes in quick succession become one update of the data plane. So thousands of returning real servers cost a few
/// updates. A returning real server also waits for the sweep of the flow table, which pauses for other work. When a
/// server goes down during that sweep, the rest of the sweep runs without a pause.
struct Applier {
    typealias Instant = ContinuousClock.Instant

    /// The changes that one update of the data plane brings into force.
    struct Batch {
        /// Services whose weights the data plane does not have yet.
        fileprivate(set) var services: Set<ServiceAddress> = []
        /// The returning real servers, each with the time since which it is up.
        fileprivate(set) var returning: [ServiceMember: Instant] = [:]
        /// The transitions to log and publish after the update, in this order.
        fileprivate(set) var transitions: [(service: ServiceAddress, transition: HealthTransition)] = []

        var isEmpty: Bool { services.isEmpty && transitions.isEmpty }
    }

    /// The number of a wait for one update. An update that ends the wait early makes the turn invalid.
    struct Turn: Equatable { fileprivate var number = 0 }

    /// The caller's next step after a change.
    enum Step: Equatable {
        /// No step, as there is nothing to apply, or a pending update includes the change.
        case nothing
        /// Sleep until this time, then call `beginSweep(in:)`.
        case wait(Turn, until: Instant)
        /// Make the update now.
        case apply
    }

    private enum Phase { case idle, waiting, sweeping }

    /// The least time between the end of an update and the next one.
    static let shortestPause = Duration.milliseconds(5)

    /// The changes that wait for an update.
    private(set) var pending = Batch()
    /// Whether the data plane refused an update, so that all services have to be applied again.
    private(set) var owesServices = false
    private var phase = Phase.idle
    private var turn = Turn()
    /// The earliest time at which the pause before the next update ends, unless `hurry()` ends it.
    private var earliest: Instant

    init(at now: Instant) { earliest = now }

    // MARK: Changes come in

    /// Adds the changes of one service's health.
    mutating func note(_ changes: ServiceState.Changes, of service: ServiceAddress, at now: Instant) -> Step {
        guard changes.hasNewWeights || !changes.transitions.isEmpty else { return .nothing }
        if changes.hasNewWeights { pending.services.insert(service) }
        var isUrgent = false
        for transition in changes.transitions {
            pending.transitions.append((service, transition))
            switch transition {
            case .serverUp(let server):
                pending.returning[ServiceMember(service: service, server: server)] = now
            case .serverDown(let server, _):
                pending.returning[ServiceMember(service: service, server: server)] = nil
                isUrgent = true
            default: break
            }
        }
        switch phase {
        case .idle:
            phase = .waiting
            return .wait(turn, until: max(now, earliest))
        case .waiting: return .nothing
        case .sweeping: return isUrgent ? .apply : .nothing
        }
    }

    /// Adds services whose settings have changed, right before `take()`.
    mutating func add(_ services: some Sequence<ServiceAddress>) { pending.services.formUnion(services) }

    // MARK: The wait for an update

    /// Ends the pause between two updates. Returns whether the sweep for `pending.returning` is to begin; false when
    /// the update has begun or been made meanwhile.
    mutating func beginSweep(in turn: Turn) -> Bool {
        guard turn == self.turn, phase == .waiting else { return false }
        phase = .sweeping
        return true
    }

    /// Ends the pause, for a caller that needs the update at once. Returns the turn, for which the caller has to sweep;
    /// nil if nothing is pending.
    mutating func hurry() -> Turn? {
        guard phase != .idle else { return nil }
        phase = .sweeping
        return turn
    }

    /// Returns whether the turn's update is to be made after the sweep. False when the update has been made meanwhile.
    func isDue(after turn: Turn) -> Bool { turn == self.turn && phase == .sweeping }

    /// Removes and returns all that is pending, for an update now. The wait for an update ends.
    mutating func take() -> Batch {
        defer { pending = Batch() }
        phase = .idle
        turn.number += 1
        return pending
    }

    // MARK: Results of updates

    /// Notes an update that ran between these times. The next update is put off by twice that duration, which leaves
    /// two thirds of the time for other work.
    mutating func noteUpdate(from began: Instant, to ended: Instant) {
        earliest = ended + max(Self.shortestPause, began.duration(to: ended) * 2)
    }

    /// Notes that the data plane refused a change: all services have to be applied again.
    mutating func noteRefusal() { owesServices = true }

    /// Notes that the data plane has all services as desired.
    mutating func noteAllApplied() { owesServices = false }
}

/// The updates of the data plane after configuration and health.
extension Director {
    // MARK: All services

    /// Gives the data plane all services as desired now.
    func applyServices() throws {
        try running?.dataPlane.apply(desiredServices)
    }

    /// Applies all services again after the data plane has refused a change.
    func applyOwedServices() throws {
        guard applier.owesServices else { return }
        try applyServices()
        applier.noteAllApplied()
    }

    /// Schedules another application of all services, after the data plane has refused a change.
    func oweServices() { applier.noteRefusal() }

    var desiredServices: [VirtualService] { desiredServices { _ in true } }

    /// Returns the wanted services as configured, with the effective weights by health, the moves by drains, and the
    /// sorry servers.
    func desiredServices(where isWanted: (ConfiguredService) -> Bool) -> [VirtualService] {
        configuration.services.filter(isWanted).map { service in
            let state = health[service.address]
            let overrides = maintenance.overrides
            var desired = service.forwarding
            desired.startsSlowly = service.policy.slowStart != nil
            desired.servers = service.servers.map { configured in
                var server = configured
                if let effective = state?.effectiveWeight(of: server.address) { server.effective = effective }
                server.movesPersistent = overrides.movesPersistent(server.address, in: service.forwarding)
                server.movesDatagrams = overrides.movesDatagrams(server.address, in: service.forwarding)
                return server
            }
            if let address = service.policy.sorryServer {
                var sorry = RealServer(address: address)
                sorry.effective = .sorryServer(serves: state?.isReplaced ?? false)
                desired.servers.append(sorry)
            }
            return desired
        }
    }

    // MARK: Changes of health

    /// Schedules an update of the data plane, after which the transitions are logged and published.
    func apply(_ changes: ServiceState.Changes, of service: ServiceAddress) {
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

    /// Applies all that is pending without the pause, so that the caller afterwards sees the weights that are in force.
    func hurryPending() async {
        if let turn = applier.hurry() { await sweepAndApply(in: turn) }
    }

    private func sweepAndApply(in turn: Applier.Turn) async {
        await sweepForReturning()
        if applier.isDue(after: turn) { applyPending() }
    }

    /// Applies all that is pending to the data plane, then logs and publishes the transitions.
    func applyPending() {
        let batch = applier.take()
        guard !batch.isEmpty else { return }
        let began = clock.now
        do { try apply(batch) } catch {
            let names = batch.services.map(\.description).sorted()
            var fields: Logger.Metadata = ["services": "\(names.count)", "error": "\(error)"]
            if names.count == 1 { fields["service"] = "\(names[0])" }
            logger.error("apply the health of \(names.listed): \(error)", metadata: fields)
            oweServices()
        }
        publish(batch)
        applier.noteUpdate(from: began, to: clock.now)
    }

    /// Applies these services and all that is pending to the data plane. The caller publishes the batch.
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

    /// Gives the data plane these services as desired now.
    func update(_ services: Set<ServiceAddress>) throws {
        try running?.dataPlane.update(desiredServices { services.contains($0.address) })
    }

    func publish(_ batch: Applier.Batch) {
        for (service, transition) in batch.transitions { logAndPublish(transition, of: service) }
    }
}

/// The sweep of the flow table in parts, between which the director does other work.
extension Director {
    /// The duration of one part of a sweep.
    private static let sweepPart = Duration.milliseconds(4)
    /// The time between the starts of two passes.
    private static let sweepPeriod = Duration.seconds(5)

    /// Sweeps the whole table every five seconds, until cancelled.
    func runSweeps() async {
        while !Task.isCancelled {
            let began = clock.now
            var failure: (any Error)?
            do { try await sweepOn { !$0.isSwept(since: began) } } catch { failure = error }
            attempt("sweep the flow table") { if let failure { throw failure } }
            try? await clock.sleep(until: began + Self.sweepPeriod)
        }
    }

    /// Sweeps before returning real servers get new connections. Half-open connections from before such a server's fall
    /// must not count against it.
    func sweepForReturning() async {
        // Where this fails, the update that follows sweeps again, and logs the error.
        try? await sweepOn { Self.holdsAbandoned(self.applier.pending.returning, $0) }
    }

    /// Sweeps like `sweepForReturning`, but without a pause.
    func sweepAtOnce(for returning: [ServiceMember: ContinuousClock.Instant]) throws {
        guard let dataPlane = running?.dataPlane else { return }
        while Self.holdsAbandoned(returning, dataPlane) { try dataPlane.sweep(for: .seconds(1)) }
    }

    private static func holdsAbandoned(
        _ returning: [ServiceMember: ContinuousClock.Instant], _ dataPlane: any DataPlane
    ) -> Bool {
        returning.contains { dataPlane.mayHoldAbandoned($0.key, until: $0.value) }
    }

    /// Sweeps in parts while `isOwed` returns true for the running data plane, which may be another one after each
    /// part.
    private func sweepOn(while isOwed: (any DataPlane) -> Bool) async throws {
        while !Task.isCancelled, let dataPlane = running?.dataPlane, isOwed(dataPlane) {
            try dataPlane.sweep(for: Self.sweepPart)
            await Task.yield()
        }
    }
}
