internal import DataPlane
internal import FoundationEssentials
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// Maintenance by hand.
extension Director {
    private var overridesFile: OverridesFile { OverridesFile(path: instance.overrides) }

    /// Takes over the drains that the last daemon knew of.
    func takeOverOverrides() {
        let (overrides, problem) = overridesFile.takeOver()
        if let problem { logger.error("\(problem)") }
        self.overrides = overrides
        for drain in overrides.drains {
            let isKnown = configuration.services.contains { service in
                service.servers.contains { drain.holds(for: $0.address, in: service.forwarding) }
            }
            let place = drain.service.map { " of \($0)" } ?? ""
            logger.notice(
                "real server \(drain.server)\(place) is drained since \(drain.since.formatted(.iso8601))\(isKnown ? "" : ", and is not configured")"
            )
        }
    }

    /// Gives the real server no new connections, until it is undrained. Of a server that is drained already nothing
    /// changes, but that its persistent clients or datagrams may be told to move.
    public func drain(
        _ request: DrainRequest, while isAwaited: @Sendable () -> Bool = { true }
    ) throws -> DrainReport {
        try Self.refuseUnawaited("drain \(request.server)", isAwaited)
        let (server, services) = try find(request)
        let affected = services.filter { overrides.drain(of: server, in: $0.forwarding) == nil }
        if request.onlyIfDrained == true, !affected.isEmpty {
            throw DirectorError(.notDrained, "\(server) is no longer drained: somebody has undrained it")
        }
        let moves = request.movePersistent == true
        let movesDatagrams = request.moveDatagrams == true
        let moved = Moved(
            persistent: moves ? services.filter { !overrides.movesPersistent(server, in: $0.forwarding) } : [],
            datagrams: movesDatagrams ? services.filter { !overrides.movesDatagrams(server, in: $0.forwarding) } : [])
        if request.service != nil, affected.isEmpty, moved.services.isEmpty {
            return report(server, services, changed: false)
        }
        if request.force != true { try refuseBelowQuorum(server, in: affected) }
        var wanted = overrides
        let service = request.service == nil ? nil : services[0].address
        guard
            wanted.drain(
                server, service: service, since: Date(), movesPersistent: moves, movesDatagrams: movesDatagrams)
        else {
            return report(server, services, changed: false)
        }
        try change(to: wanted, of: server, in: affected, moved: moved, .drained)
        return report(server, services, changed: true)
    }

    /// Takes a drain back.
    public func undrain(
        _ request: DrainRequest, while isAwaited: @Sendable () -> Bool = { true }
    ) throws -> DrainReport {
        try Self.refuseUnawaited("undrain \(request.server)", isAwaited)
        // One that is no longer configured may still be drained.
        let server = try request.address()
        let isForgotten = request.service == nil && overrides.drains.contains { $0.server == server }
        let services = isForgotten ? servicesWith(server) : try find(request).services
        var wanted = overrides
        let isNews = wanted.undrain(server, service: request.service == nil ? nil : services[0].forwarding)
        if request.service != nil, let all = wanted.drain(of: server, in: services[0].forwarding) {
            throw DirectorError(
                .badValue,
                "undrain \(server): it is drained in all services since \(all.since.formatted(.iso8601)) (accepted: "
                    + "undrain it without --service; then drain it where it is to stay so)")
        }
        guard isNews else { return report(server, services, changed: false) }
        let affected = services.filter { overrides.drain(of: server, in: $0.forwarding) != nil }
        try change(to: wanted, of: server, in: affected, .undrained)
        return report(server, services, changed: true)
    }

    /// Returns how far a drain is.
    public func drainReport(_ request: DrainRequest) throws -> DrainReport {
        let (server, services) = try find(request)
        return report(server, services, changed: false)
    }

    // MARK: What is meant

    private func servicesWith(_ server: IPv4Address) -> [ConfiguredService] {
        configuration.services.filter { $0.servers.contains { $0.address == server } }
    }

    private func find(_ request: DrainRequest) throws -> (server: IPv4Address, services: [ConfiguredService]) {
        guard running?.isForwarding == true else {
            throw DirectorError(.alreadyRunning, "the director is starting or stopping")
        }
        let server = try request.address()
        let services = servicesWith(server)
        guard !services.isEmpty else {
            let known = Set(configuration.services.flatMap { $0.servers.map(\.address) }).sorted()
            throw DirectorError(
                .badValue, "\(server) is no real server here (accepted: \(known.map(\.description).listed))")
        }
        guard let listener = try request.listener() else { return (server, services) }
        guard let service = services.first(where: { $0.listeners.contains(listener) }) else {
            let isService = configuration.services.contains { $0.listeners.contains(listener) }
            throw DirectorError(
                .badValue,
                "\(listener) \(isService ? "does not have the real server \(server)" : "is no service here") (accepted: "
                    + "\(services.map(\.address.description).listed))")
        }
        return (server, [service])
    }

    private func refuseBelowQuorum(_ server: IPv4Address, in services: [ConfiguredService]) throws {
        let problems = services.compactMap { service -> String? in
            guard let state = health[service.address], let left = state.shortfall(without: server) else { return nil }
            let quorum = state.quorum
            return quorum.isUp
                ? "\(service.address) would be left with a usable weight of \(left), and it loses its quorum below \(quorum.rule.lostBelow)"
                : "\(service.address) has no quorum: real servers that serve would be left with a weight of \(left), and \(quorum.rule.regainedAt) is needed"
        }
        guard problems.isEmpty else {
            throw DirectorError(
                .tooFew, "not drained: \(problems.listed) (--force drains \(server) all the same)")
        }
    }

    // MARK: The change

    private enum Turn: String { case drained, undrained }

    /// Services in which something leaves the real server from now on.
    private struct Moved {
        var persistent: [ConfiguredService] = []
        var datagrams: [ConfiguredService] = []

        var services: [ConfiguredService] { persistent + datagrams }
    }

    /// Makes the whole change, or none of it. The disk has it first: what an operator was told holds through a crash.
    private func change(
        to wanted: Overrides, of server: IPv4Address, in services: [ConfiguredService], moved: Moved = Moved(),
        _ turn: Turn
    ) throws {
        // If this change is refused, earlier ones stay in force.
        applyPending()
        let before = (overrides, health)
        do { try overridesFile.write(wanted) } catch {
            throw DirectorError(.kernel, "\(server) is not \(turn), nothing has changed: \(error)")
        }
        overrides = wanted
        for service in services { followDrains(of: service) }
        applier.add(moved.services.map(\.address))
        let batch = applier.take()
        do { try apply(batch) } catch {
            takeBack(to: before, of: services + moved.services)
            throw DirectorError(.kernel, "\(server) is not \(turn), the data plane refuses: \(error)")
        }
        for service in services {
            let since = before.0.drain(of: server, in: service.forwarding)?.since
            logger.notice("real server \(server) of \(service.address) is \(turn)")
            tell(
                turn == .drained ? .serverDrained : .serverUndrained, of: service.address, server: server, since: since)
        }
        for service in moved.persistent where service.forwarding.persistence != nil {
            logger.notice("persistent clients of real server \(server) of \(service.address) move")
        }
        for service in moved.datagrams where service.listeners.contains(where: { $0.transport != .tcp }) {
            let way = service.forwarding.onServerRemoval == .move ? "move" : "are no longer refreshed"
            logger.notice("datagram flows of real server \(server) of \(service.address) \(way)")
        }
        tell(batch)
        for service in services { tellWhetherItServes(service.address) }
    }

    private func takeBack(
        to before: (overrides: Overrides, health: HealthSupervisor), of services: [ConfiguredService]
    ) {
        (overrides, health) = before
        do { try overridesFile.write(overrides) } catch {
            logger.error("take back what is in \(instance.overrides): \(error)")
        }
        // Each service goes back by itself: one that is refused, too, does not keep the others.
        for service in services {
            do { try running?.dataPlane.update(desiredServices { $0.address == service.address }) } catch {
                logger.error("go back to the weights of \(service.address): \(error)")
                applier.noteRefusal()
            }
        }
    }

    /// Has the service's weights follow what is drained.
    func followDrains(of service: ConfiguredService) {
        let drained = overrides.drained(of: service.forwarding)
        if let changes = health.setDrained(drained, of: service.address, at: clock.now) {
            follow(changes, of: service.address)
        }
    }

    private func report(_ server: IPv4Address, _ services: [ConfiguredService], changed: Bool) -> DrainReport {
        DrainReport(
            server: server.description, changed: changed, isInForce: !applier.owesServices,
            services: services.map { service in
                let load = running?.dataPlane.load(
                    of: ServiceMember(service: service.address, server: server))
                return DrainReport.Service(
                    service: service.address.description,
                    drained: overrides.drain(of: server, in: service.forwarding)?.since.formatted(.iso8601),
                    active: load?.active ?? 0, inactive: load?.inactive ?? 0,
                    persistence: service.forwarding.persistence?.timeout,
                    movesPersistent: overrides.movesPersistent(server, in: service.forwarding))
            })
    }
}
