internal import Addresses
internal import DataPlane
internal import FoundationEssentials
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// The drains of operators, and decisions on requests. The type stores drains on disk, and the caller applies them to
/// the data plane.
struct Maintenance {
    /// The change that a request makes.
    struct Change {
        enum Turn: String {
            case drained, undrained

            var event: DirectorEvent.Kind { self == .drained ? .serverDrained : .serverUndrained }
        }

        var turn: Turn
        /// All drains after the change.
        var overrides: Overrides
        /// The services in which the change drains or undrains the real server.
        var services: [ConfiguredService]
        /// The services in which persistent clients leave the real server from now on.
        var persistent: [ConfiguredService] = []
        /// The services in which datagrams leave the real server from now on.
        var datagrams: [ConfiguredService] = []
    }

    /// The decision on a request.
    struct Decision {
        var server: IPAddress
        /// The services of the request.
        var services: [ConfiguredService]
        /// The change, or nil where the request changes nothing.
        var change: Change?
    }

    private let file: OverridesFile
    private(set) var overrides = Overrides()

    init(path: String) { file = OverridesFile(path: path) }

    // MARK: Decisions

    /// Decides on a drain. A request for a drained server can only widen its drain to all services, or add the move of
    /// persistent clients or datagrams. `health` returns the state of a service.
    func drain(
        _ request: DrainRequest, in configuration: DirectorConfiguration, health: (ServiceAddress) -> ServiceState?,
        at now: Date
    ) throws -> Decision {
        let (server, services) = try find(request, in: configuration)
        let affected = services.filter { overrides.drain(of: server, in: $0.forwarding) == nil }
        if request.onlyIfDrained == true, !affected.isEmpty {
            throw DirectorError(.notDrained, "\(server) is no longer drained: somebody has undrained it")
        }
        let moves = request.movePersistent == true
        let movesDatagrams = request.moveDatagrams == true
        var change = Change(
            turn: .drained, overrides: overrides, services: affected,
            persistent: moves ? services.filter { !overrides.movesPersistent(server, in: $0.forwarding) } : [],
            datagrams: movesDatagrams ? services.filter { !overrides.movesDatagrams(server, in: $0.forwarding) } : [])
        let unchanged = Decision(server: server, services: services)
        if request.service != nil, affected.isEmpty, change.persistent.isEmpty, change.datagrams.isEmpty {
            return unchanged
        }
        if request.force != true { try refuseBelowQuorum(server, in: affected, health: health) }
        let isNews = change.overrides.drain(
            server, service: request.service == nil ? nil : services[0].address, since: now, movesPersistent: moves,
            movesDatagrams: movesDatagrams)
        return isNews ? Decision(server: server, services: services, change: change) : unchanged
    }

    /// Decides on the end of a drain.
    func undrain(_ request: DrainRequest, in configuration: DirectorConfiguration) throws -> Decision {
        // A real server that is no longer configured may still be drained.
        let server = try request.address()
        let isForgotten = request.service == nil && overrides.drains.contains { $0.server == server }
        let services =
            isForgotten ? configuration.services(with: server) : try find(request, in: configuration).services
        var wanted = overrides
        let isNews = wanted.undrain(server, service: request.service == nil ? nil : services[0].forwarding)
        if request.service != nil, let all = wanted.drain(of: server, in: services[0].forwarding) {
            throw DirectorError(
                .badValue,
                "undrain \(server): it is drained in all services since \(all.since.formatted(.iso8601)) (accepted: "
                    + "undrain it without --service; then drain it where it is to stay so)")
        }
        guard isNews else { return Decision(server: server, services: services) }
        let affected = services.filter { overrides.drain(of: server, in: $0.forwarding) != nil }
        return Decision(
            server: server, services: services,
            change: Change(turn: .undrained, overrides: wanted, services: affected))
    }

    /// Returns the real server and the services of a request. Throws where the configuration does not have them.
    func find(
        _ request: DrainRequest, in configuration: DirectorConfiguration
    ) throws -> (server: IPAddress, services: [ConfiguredService]) {
        let server = try request.address()
        let services = configuration.services(with: server)
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

    private func refuseBelowQuorum(
        _ server: IPAddress, in services: [ConfiguredService], health: (ServiceAddress) -> ServiceState?
    ) throws {
        let problems = services.compactMap { service -> String? in
            guard let state = health(service.address), let left = state.shortfall(without: server) else { return nil }
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

    // MARK: Stored drains

    /// Reads the drains that an earlier daemon stored. Returns the problem where they cannot be read.
    mutating func takeOver() -> String? {
        let (overrides, problem) = file.takeOver()
        self.overrides = overrides
        return problem
    }

    /// Sets the drains, after the write to disk. So a drain that was reported to an operator survives a crash.
    mutating func set(_ wanted: Overrides) throws {
        guard wanted != overrides else { return }
        try file.write(wanted)
        overrides = wanted
    }

    /// Restores former drains, also where the write to disk fails.
    mutating func restore(_ former: Overrides) throws {
        guard former != overrides else { return }
        overrides = former
        try file.write(former)
    }
}

extension DirectorConfiguration {
    fileprivate func services(with server: IPAddress) -> [ConfiguredService] {
        services.filter { $0.servers.contains { $0.address == server } }
    }
}

/// The requests of operators: decisions of `Maintenance` are applied, logged, published and reported.
extension Director {
    /// Adopts the drains that an earlier daemon stored, and logs them.
    func takeOverOverrides() {
        if let problem = maintenance.takeOver() {
            logger.error("\(problem)", metadata: ["path": "\(instance.overrides)"])
        }
        for drain in maintenance.overrides.drains {
            let isKnown = configuration.services.contains { service in
                service.servers.contains { drain.holds(for: $0.address, in: service.forwarding) }
            }
            let place = drain.service.map { " of \($0)" } ?? ""
            var fields: Logger.Metadata = ["server": "\(drain.server)", "since": "\(drain.since.formatted(.iso8601))"]
            fields["service"] = drain.service.map { "\($0)" }
            logger.notice(
                "real server \(drain.server)\(place) is drained since \(drain.since.formatted(.iso8601))\(isKnown ? "" : ", and is not configured")",
                metadata: fields)
        }
    }

    /// Drains a real server, which gets no new connections until it is undrained.
    public func drain(
        _ request: DrainRequest, while isAwaited: @Sendable () -> Bool = { true }
    ) throws -> DrainReport {
        try Self.refuseUnawaited("drain \(request.server)", isAwaited)
        try refuseUnlessForwarding()
        return try make(
            maintenance.drain(request, in: configuration, health: { health[$0] }, at: Date()))
    }

    /// Ends a drain.
    public func undrain(
        _ request: DrainRequest, while isAwaited: @Sendable () -> Bool = { true }
    ) throws -> DrainReport {
        try Self.refuseUnawaited("undrain \(request.server)", isAwaited)
        try refuseUnlessForwarding()
        return try make(maintenance.undrain(request, in: configuration))
    }

    /// Returns the progress of a drain.
    public func drainReport(_ request: DrainRequest) throws -> DrainReport {
        try refuseUnlessForwarding()
        let (server, services) = try maintenance.find(request, in: configuration)
        return report(server, services, changed: false)
    }

    private func refuseUnlessForwarding() throws {
        guard running?.isForwarding == true else {
            throw DirectorError(.alreadyRunning, "the director is starting or stopping")
        }
    }

    // MARK: The change

    private func make(_ decision: Maintenance.Decision) throws -> DrainReport {
        if let change = decision.change { try make(change, of: decision.server) }
        return report(decision.server, decision.services, changed: decision.change != nil)
    }

    /// Makes the whole change, or throws and makes none of it.
    private func make(_ change: Maintenance.Change, of server: IPAddress) throws {
        let former = maintenance.overrides
        let affected = Set((change.services + change.persistent + change.datagrams).map(\.address))
        var isStored = false
        let batch = try revise {
            do { try maintenance.set(change.overrides) } catch {
                throw DirectorError(.kernel, "\(server) is not \(change.turn), nothing has changed: \(error)")
            }
            isStored = true
            do { return try applyDrains(of: change.services, affecting: affected) } catch {
                throw DirectorError(.kernel, "\(server) is not \(change.turn), the data plane refuses: \(error)")
            }
        } orElse: {
            // The data plane is unchanged where the write to disk has failed.
            if isStored { try update(affected) }
        }
        log(change, of: server)
        for service in change.services {
            let since = former.drain(of: server, in: service.forwarding)?.since
            publish(change.turn.event, of: service.address, server: server, since: since)
        }
        publish(batch)
        for service in change.services { publishServiceState(service.address) }
    }

    /// Applies the drains of these services to the data plane. Only the body of `revise` may call it.
    private func applyDrains(
        of services: [ConfiguredService], affecting all: Set<ServiceAddress>
    ) throws -> Applier.Batch {
        for service in services { updateDrained(of: service) }
        return try applyNow(with: all)
    }

    /// Restores the drains from before a refused change.
    func restoreOverrides(_ former: Overrides) {
        do { try maintenance.restore(former) } catch {
            logger.error(
                "take back what is in \(instance.overrides): \(error)",
                metadata: ["path": "\(instance.overrides)", "error": "\(error)"])
        }
    }

    private func log(_ change: Maintenance.Change, of server: IPAddress) {
        func fields(_ service: ConfiguredService) -> Logger.Metadata {
            ["service": "\(service.address)", "server": "\(server)"]
        }
        let event = change.turn.event
        for service in change.services {
            logger.notice(
                "real server \(server) of \(service.address) is \(change.turn)",
                metadata: fields(service).merging(["event": "\(event.rawValue)"]) { $1 })
        }
        for service in change.persistent where service.forwarding.persistence != nil {
            logger.notice(
                "persistent clients of real server \(server) of \(service.address) move", metadata: fields(service))
        }
        for service in change.datagrams where service.listeners.contains(where: { $0.transport != .tcp }) {
            let way = service.forwarding.onServerRemoval == .move ? "move" : "are no longer refreshed"
            logger.notice(
                "datagram flows of real server \(server) of \(service.address) \(way)", metadata: fields(service))
        }
    }

    private func report(_ server: IPAddress, _ services: [ConfiguredService], changed: Bool) -> DrainReport {
        let overrides = maintenance.overrides
        return DrainReport(
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
