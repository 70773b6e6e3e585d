internal import Addresses
internal import DataPlane
internal import FoundationEssentials
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// Maintenance by hand: what `Maintenance` decides is applied, reported and told.
extension Director {
    /// Takes over the drains that the last daemon knew of.
    func takeOverOverrides() {
        if let problem = maintenance.takeOver() { logger.error("\(problem)") }
        for drain in maintenance.overrides.drains {
            let isKnown = configuration.services.contains { service in
                service.servers.contains { drain.holds(for: $0.address, in: service.forwarding) }
            }
            let place = drain.service.map { " of \($0)" } ?? ""
            logger.notice(
                "real server \(drain.server)\(place) is drained since \(drain.since.formatted(.iso8601))\(isKnown ? "" : ", and is not configured")"
            )
        }
    }

    /// Gives the real server no new connections, until it is undrained.
    public func drain(
        _ request: DrainRequest, while isAwaited: @Sendable () -> Bool = { true }
    ) throws -> DrainReport {
        try Self.refuseUnawaited("drain \(request.server)", isAwaited)
        try refuseUnlessForwarding()
        return try make(
            maintenance.drain(request, in: configuration, health: { health[$0] }, at: Date()))
    }

    /// Takes a drain back.
    public func undrain(
        _ request: DrainRequest, while isAwaited: @Sendable () -> Bool = { true }
    ) throws -> DrainReport {
        try Self.refuseUnawaited("undrain \(request.server)", isAwaited)
        try refuseUnlessForwarding()
        return try make(maintenance.undrain(request, in: configuration))
    }

    /// Returns how far a drain is.
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

    /// Makes the whole change, or none of it.
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
            // A drain that the disk refuses has changed nothing in the data plane.
            if isStored { try update(affected) }
        }
        log(change, of: server)
        for service in change.services {
            let since = former.drain(of: server, in: service.forwarding)?.since
            tell(
                change.turn == .drained ? .serverDrained : .serverUndrained, of: service.address, server: server,
                since: since)
        }
        tell(batch)
        for service in change.services { tellWhetherItServes(service.address) }
    }

    /// Has the data plane follow the drains of these services, within `revise`.
    private func applyDrains(
        of services: [ConfiguredService], affecting all: Set<ServiceAddress>
    ) throws -> Applier.Batch {
        for service in services { followDrains(of: service) }
        return try applyNow(with: all)
    }

    /// Makes the drains what they were before a change that is refused.
    func restoreOverrides(_ former: Overrides) {
        do { try maintenance.restore(former) } catch {
            logger.error("take back what is in \(instance.overrides): \(error)")
        }
    }

    private func log(_ change: Maintenance.Change, of server: IPAddress) {
        for service in change.services {
            logger.notice("real server \(server) of \(service.address) is \(change.turn)")
        }
        for service in change.persistent where service.forwarding.persistence != nil {
            logger.notice("persistent clients of real server \(server) of \(service.address) move")
        }
        for service in change.datagrams where service.listeners.contains(where: { $0.transport != .tcp }) {
            let way = service.forwarding.onServerRemoval == .move ? "move" : "are no longer refreshed"
            logger.notice("datagram flows of real server \(server) of \(service.address) \(way)")
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
