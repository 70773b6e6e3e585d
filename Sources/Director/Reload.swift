internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
public import ServiceConfiguration

/// A running director's reload, which applies another configuration as a whole or not at all.
extension Director {
    /// Applies the wanted configuration. Returns a summary of the changes in one line. An error leaves everything as it
    /// was. The reload does not begin if `isAwaited` returns false in its turn, as the client of the control socket has
    /// left then.
    public func reload(
        _ wanted: DirectorConfiguration, while isAwaited: @Sendable () -> Bool = { true }
    ) async throws -> String {
        // Reloads run one after another, so that the configuration requested last stays. The duration of each reload is
        // bounded.
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

    /// Refuses a request whose client has left while it waited.
    static func refuseUnawaited(_ request: String, _ isAwaited: () -> Bool) throws {
        guard isAwaited() else {
            throw DirectorError(.alreadyRunning, "\(request): the client has disconnected, nothing is done")
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

    /// Returns whether these are other names of the interfaces that the director has, as after a renaming.
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

    /// Resolves the next hops of new real servers before the first packet needs them. Waits for 300 ms at most.
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
            // This block applies the former configuration as far as possible.
            do { try prepareDataPlane() } catch {
                logger.error("go back to the programs before: \(error)", metadata: ["error": "\(error)"])
            }
            try applyConfiguration()
        }
        for (service, transition) in transitions { logAndPublish(transition, of: service) }
        forgetRemovedServices()
        saveDampingSoon()
        // A real server that is added or removed has no transition of its own.
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
        // Programs and maps that are opened anew adopt the pinned ones, so no pin may be missing.
        report(dataPlane.repairStored())
        try dataPlane.prepare(for: demand)
    }

    /// Applies the present configuration and health to the data plane and the VIPs.
    private func applyConfiguration() throws {
        guard let current = running else { return }
        current.dataPlane.setLimits(limits)
        // The next hops of new real servers precede the servers themselves.
        updateRoutes(to: configuration.serverAddresses.subtracting(current.dataPlane.serverAddresses))
        try applyServices()
        refreshPaths()
        try current.dataPlane.completeChange()
        try placeAddresses(journal: current.journal)
    }
}

/// The state from which the desired services derive. `revise` restores it after a refused change.
private struct Revision {
    var configuration: DirectorConfiguration
    var overrides: Overrides
    var health: HealthSupervisor
}

/// The way back after a failed reload or drain.
extension Director {
    /// Makes a change. If `change` throws, the function restores configuration, drains and health, and calls `reapply`,
    /// which applies them to the data plane. The function has no suspension point, so no other work of the actor runs
    /// in between.
    func revise<Result>(
        _ change: () throws -> Result, orElse reapply: () throws -> Void
    ) throws -> Result {
        // Pending changes of health are applied first, so that they stay in force.
        applyPending()
        let former = Revision(configuration: configuration, overrides: maintenance.overrides, health: health)
        do { return try change() } catch {
            configuration = former.configuration
            restoreOverrides(former.overrides)
            restoreHealth(former.health)
            do { try reapply() } catch {
                logger.error("go back to the services before: \(error)", metadata: ["error": "\(error)"])
                oweServices()
            }
            throw error
        }
    }

    /// Replaces the configuration. Only the body of `revise` may call it.
    func setConfiguration(_ wanted: DirectorConfiguration) { configuration = wanted }
}

/// The summary of a reload's changes in one line.
enum ReloadSummary {
    static func text(from old: DirectorConfiguration, to new: DirectorConfiguration) -> String {
        if old == new { return "nothing changed" }
        let services = (Set(old.services.map(\.address)), Set(new.services.map(\.address)))
        let listeners = (otherListeners(of: old, besides: new), otherListeners(of: new, besides: old))
        let servers = (members(of: old), members(of: new))
        let counts: [(Int, String)] = [
            (services.1.subtracting(services.0).count, "services added"),
            (services.0.subtracting(services.1).count, "services removed"),
            (listeners.1.subtracting(listeners.0).count, "listeners added"),
            (listeners.0.subtracting(listeners.1).count, "listeners removed"),
            (servers.1.subtracting(servers.0).count, "real servers added"),
            (servers.0.subtracting(servers.1).count, "real servers removed"),
        ]
        let changes = counts.filter { $0.0 > 0 }.map { "\($0.1): \($0.0)" }
        let isOtherwise = changes.isEmpty || hasOtherSettings(old, new)
        return (changes + (isOtherwise ? ["settings changed"] : [])).joined(separator: ", ")
    }

    private struct Listener: Hashable {
        var service: ServiceAddress
        var address: ServiceAddress
    }

    /// Returns the listeners, except the first of each service, of the services that both configurations have.
    private static func otherListeners(
        of configuration: DirectorConfiguration, besides other: DirectorConfiguration
    ) -> Set<Listener> {
        let staying = Set(other.services.map(\.address))
        return Set(
            configuration.services.filter { staying.contains($0.address) }.flatMap { service in
                service.forwarding.otherAddresses.map { Listener(service: service.address, address: $0) }
            })
    }

    private static func members(of configuration: DirectorConfiguration) -> Set<ServiceMember> {
        Set(
            configuration.services.flatMap { service in
                service.servers.map { ServiceMember(service: service.address, server: $0.address) }
            })
    }

    /// Returns whether a setting differs: of the director, of a service in both, or of a real server in both. Added and
    /// removed listeners and real servers do not count.
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
            let listeners = Set(before.listeners).intersection(after.listeners)
            before.forwarding.otherAddresses.removeAll { !listeners.contains($0) }
            after.forwarding.otherAddresses.removeAll { !listeners.contains($0) }
            return before != after
        }
    }
}

/// A queue that admits one caller at a time, in the order of arrival. It belongs to one actor.
struct WaitingLine {
    private var isTaken = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    /// Resumes the caller in its turn, which ends with `leave()`.
    mutating func enter(_ caller: CheckedContinuation<Void, Never>) {
        if isTaken {
            waiting.append(caller)
        } else {
            isTaken = true
            caller.resume()
        }
    }

    /// Ends the present caller's turn, and resumes the next caller.
    mutating func leave() {
        if waiting.isEmpty {
            isTaken = false
        } else {
            waiting.removeFirst().resume()
        }
    }
}
