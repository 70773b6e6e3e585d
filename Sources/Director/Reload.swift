internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
public import ServiceConfiguration

/// Another configuration for a director that runs: all of it, or nothing.
extension Director {
    /// Goes over to the wanted configuration. Returns what changed, in a line. An error leaves everything as it was.
    /// `isAwaited`: nothing is begun for somebody who has gone.
    public func reload(
        _ wanted: DirectorConfiguration, while isAwaited: @Sendable () -> Bool = { true }
    ) async throws -> String {
        // One after another: the last one asked for is the one that stays. Each ends within its own bounds.
        await withCheckedContinuation { reloads.enter($0) }
        defer { reloads.leave() }
        try Self.refuseUnawaited("reload", isAwaited)
        guard let before = running, before.isForwarding else {
            throw DirectorError(.alreadyRunning, "reload: the director is starting or stopping")
        }
        do {
            try refuseStartOnlyChanges(wanted)
            try AddressRefusals.refuse(wanted, journal: before.journal.changes, network)
            try AddressRefusals.refuseOuterSources(wanted.vips.subtracting(configuration.vips), of: wanted, network)
            try await resolve(serversOf: wanted)
            guard running?.isForwarding == true else {
                throw DirectorError(.alreadyRunning, "reload: the director is stopping")
            }
            return try change(to: wanted)
        } catch {
            throw DirectorError(error)
        }
    }

    /// A request may have waited here for long.
    static func refuseUnawaited(_ request: String, _ isAwaited: () -> Bool) throws {
        guard isAwaited() else {
            throw DirectorError(.alreadyRunning, "\(request): nobody waits for it any more: nothing is done")
        }
    }

    private func refuseStartOnlyChanges(_ wanted: DirectorConfiguration) throws {
        var refused: [String] = []
        func refuse(_ key: String, _ now: String, _ then: String) { refused.append("\(key) (\(now), now \(then))") }
        if try wanted.interfaces != configuration.interfaces && !areSameInterfaces(wanted.interfaces) {
            refuse(Options.interfaces.keyName, Self.list(configuration.interfaces), Self.list(wanted.interfaces))
        } else if wanted.interfaces.isEmpty, let vip = wanted.services.first?.address.vip {
            if let dataPlane = running?.dataPlane, let found = try dataPlane.otherInterfaces(for: vip) {
                refuse(
                    Options.interfaces.keyName, Self.list(dataPlane.interfaces.map(\.name)),
                    "\(Self.list(found)), where \(vip) is")
            }
        }
        if wanted.metricsListen != configuration.metricsListen {
            func name(_ address: ListenAddress?) -> String { address?.description ?? "nowhere" }
            refuse(Options.metricsListen.keyName, name(configuration.metricsListen), name(wanted.metricsListen))
        }
        if wanted.xdp != configuration.xdp {
            refuse(Options.xdp.keyName, configuration.xdp.rawValue, wanted.xdp.rawValue)
        }
        guard refused.isEmpty else {
            throw DirectorError(
                .badValue,
                "\(refused.joined(separator: ", ")): cannot change in a director that runs; start another with --replace"
            )
        }
    }

    /// Whether these are names of the interfaces that the director has by other names, as after a renaming.
    private func areSameInterfaces(_ names: [String]) throws -> Bool {
        guard !names.isEmpty, !configuration.interfaces.isEmpty, let present = running?.dataPlane.interfaces else {
            return false
        }
        let links = try network.links()
        return Set(names.map { links.called($0)?.index }) == Set(present.map { Optional($0.index) })
    }

    private static func list(_ names: [String]) -> String {
        names.isEmpty ? "found by itself" : names.joined(separator: " ")
    }

    /// New real servers' next hops are asked for before the first packet needs them.
    private func resolve(serversOf wanted: DirectorConfiguration) async throws {
        let deadline = clock.now + .milliseconds(300)
        while let current = running {
            let new = wanted.serverAddresses.subtracting(current.dataPlane.serverAddresses)
            if nextHops.areResolved(new, journal: current.journal) || clock.now >= deadline { return }
            try await clock.sleep(for: .milliseconds(10))
        }
    }

    private func change(to wanted: DirectorConfiguration) throws -> String {
        let former = configuration
        let transitions = try revise {
            setConfiguration(wanted)
            let transitions = try reconfigureHealth(from: former, to: wanted)
            try prepareDataPlane()
            try applyConfiguration()
            return transitions
        } orElse: {
            // What was is applied as far as that is possible.
            do { try prepareDataPlane() } catch { logger.error("go back to the programs before: \(error)") }
            try applyConfiguration()
        }
        for (service, transition) in transitions { logAndPublish(transition, of: service) }
        forgetRemovedServices()
        saveDampingSoon()
        // Real servers come and go without a transition of their own.
        for service in configuration.services { publishServiceState(service.address) }
        publishStarts()
        if wanted.vips != former.vips { announce() }
        updateRounds()
        let summary = ReloadSummary.text(from: former, to: wanted)
        logger.notice("reloaded: \(summary)")
        return summary
    }

    private func prepareDataPlane() throws {
        guard let dataPlane = running?.dataPlane else { return }
        // What is made anew takes over what is stored.
        report(dataPlane.repairStored())
        try dataPlane.prepare(for: demand)
    }

    /// Has the data plane and the VIPs follow the configuration and the health, as they are now.
    private func applyConfiguration() throws {
        guard let current = running else { return }
        current.dataPlane.setLimits(limits)
        // The ways to new real servers are known by the time these are.
        followRoutes(to: configuration.serverAddresses.subtracting(current.dataPlane.serverAddresses))
        try applyServices()
        refreshPaths()
        try current.dataPlane.completeChange()
        try placeAddresses(journal: current.journal)
    }
}

/// All that the desired services follow from, to which a refused change returns.
private struct Revision {
    var configuration: DirectorConfiguration
    var overrides: Overrides
    var health: HealthSupervisor
}

/// A reload or a drain is made whole, or not at all.
extension Director {
    /// Makes a change. Where it throws, configuration, drains and health are again what they were, and `reapply` has the
    /// data plane follow them. There is no suspension point in it, so that nothing else happens in between.
    func revise<Result>(
        _ change: () throws -> Result, orElse reapply: () throws -> Void
    ) throws -> Result {
        // Earlier changes stay in force.
        applyPending()
        let former = Revision(configuration: configuration, overrides: maintenance.overrides, health: health)
        do { return try change() } catch {
            configuration = former.configuration
            restoreOverrides(former.overrides)
            restoreHealth(former.health)
            do { try reapply() } catch {
                logger.error("go back to the services before: \(error)")
                oweServices()
            }
            throw error
        }
    }

    /// Makes the configuration another one, within `revise`.
    func setConfiguration(_ wanted: DirectorConfiguration) { configuration = wanted }
}

/// What a reload has changed, in a line.
enum ReloadSummary {
    static func text(from old: DirectorConfiguration, to new: DirectorConfiguration) -> String {
        if old == new { return "nothing changed" }
        let services = (Set(old.services.map(\.address)), Set(new.services.map(\.address)))
        let servers = (members(of: old), members(of: new))
        let counts = [
            (services.1.subtracting(services.0).count, "services added"),
            (services.0.subtracting(services.1).count, "services removed"),
            (servers.1.subtracting(servers.0).count, "real servers added"),
            (servers.0.subtracting(servers.1).count, "real servers removed"),
        ]
        let changes = counts.filter { $0.0 > 0 }.map { "\($0.1): \($0.0)" }
        let isOtherwise = changes.isEmpty || hasOtherSettings(old, new)
        return (changes + (isOtherwise ? ["settings changed"] : [])).joined(separator: ", ")
    }

    private static func members(of configuration: DirectorConfiguration) -> Set<ServiceMember> {
        Set(
            configuration.services.flatMap { service in
                service.servers.map { ServiceMember(service: service.address, server: $0.address) }
            })
    }

    /// Whether the director, a service that stays or a real server that stays in one is set otherwise.
    private static func hasOtherSettings(_ old: DirectorConfiguration, _ new: DirectorConfiguration) -> Bool {
        var (former, present) = (old, new)
        (former.services, present.services) = ([], [])
        if former != present { return true }
        let services = Dictionary(old.services.map { ($0.address, $0) }, uniquingKeysWith: { one, _ in one })
        return new.services.contains { service in
            guard var before = services[service.address] else { return false }
            var after = service
            let staying = Set(before.servers.map(\.address)).intersection(after.servers.map(\.address))
            before.forwarding.servers.removeAll { !staying.contains($0.address) }
            after.forwarding.servers.removeAll { !staying.contains($0.address) }
            return before != after
        }
    }
}

/// Lets one caller at a time pass, in the order in which they came. It belongs to one actor.
struct WaitingLine {
    private var isTaken = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    /// Resumes the caller when it is its turn, which ends with `leave()`.
    mutating func enter(_ caller: CheckedContinuation<Void, Never>) {
        if isTaken {
            waiting.append(caller)
        } else {
            isTaken = true
            caller.resume()
        }
    }

    /// Ends the turn of the caller that was let pass last, and lets the next one pass.
    mutating func leave() {
        if waiting.isEmpty {
            isTaken = false
        } else {
            waiting.removeFirst().resume()
        }
    }
}
