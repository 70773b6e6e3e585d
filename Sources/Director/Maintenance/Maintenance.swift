internal import Addresses
internal import FoundationEssentials
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// The drains of operators, and what their requests come to. It applies nothing: the caller makes the changes.
struct Maintenance {
    /// What a request changes.
    struct Change {
        enum Turn: String { case drained, undrained }

        var turn: Turn
        /// The drains after it.
        var overrides: Overrides
        /// The services in which the real server is drained by it, or no longer.
        var services: [ConfiguredService]
        /// The services in which persistent clients leave the real server from now on, and those in which datagrams do.
        var persistent: [ConfiguredService] = []
        var datagrams: [ConfiguredService] = []
    }

    /// What a request comes to.
    struct Decision {
        var server: IPAddress
        /// The services that are meant.
        var services: [ConfiguredService]
        /// Nil: it is so already.
        var change: Change?
    }

    private let file: OverridesFile
    private(set) var overrides = Overrides()

    init(path: String) { file = OverridesFile(path: path) }

    // MARK: Decisions

    /// Decides on a drain. Of a server that is drained already nothing changes, but that its persistent clients or
    /// datagrams may be told to move. `health`: of a service.
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
        // One that is no longer configured may still be drained.
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

    /// Returns the real server and the services that a request is about.
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

    // MARK: What outlives the daemon

    /// Takes over the drains that the last daemon knew of. Returns why they are not known.
    mutating func takeOver() -> String? {
        let (overrides, problem) = file.takeOver()
        self.overrides = overrides
        return problem
    }

    /// Makes the drains these. The disk has them first: what an operator was told holds through a crash.
    mutating func set(_ wanted: Overrides) throws {
        guard wanted != overrides else { return }
        try file.write(wanted)
        overrides = wanted
    }

    /// Makes the drains what they were, also where the disk cannot have them.
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
