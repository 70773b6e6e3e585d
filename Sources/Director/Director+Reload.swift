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
            try refuseWhatNeedsAStart(wanted)
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

    private func refuseWhatNeedsAStart(_ wanted: DirectorConfiguration) throws {
        var refused: [String] = []
        func refuse(_ key: String, _ now: String, _ then: String) { refused.append("\(key) (\(now), now \(then))") }
        if try wanted.interfaces != configuration.interfaces && !areThose(wanted.interfaces) {
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
    private func areThose(_ names: [String]) throws -> Bool {
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
        let told = try revise {
            setConfiguration(wanted)
            let told = try followHealth(from: former, to: wanted)
            try makeRoom()
            try followConfiguration()
            return told
        } orElse: {
            // What was is applied as far as that is possible.
            do { try makeRoom() } catch { logger.error("go back to the programs before: \(error)") }
            try followConfiguration()
        }
        for (service, transition) in told { self.transition(transition, of: service) }
        forgetWhatIsGone()
        saveDampingSoon()
        // Real servers come and go without a transition of their own.
        for service in configuration.services { tellWhetherItServes(service.address) }
        tellStarts()
        if wanted.vips != former.vips { announce() }
        updateRounds()
        let summary = ReloadSummary.text(from: former, to: wanted)
        logger.notice("reloaded: \(summary)")
        return summary
    }

    private func makeRoom() throws {
        guard let dataPlane = running?.dataPlane else { return }
        // What is made anew takes over what is stored.
        tell(dataPlane.repairStored())
        try dataPlane.prepare(for: demand)
    }

    /// Has the data plane and the VIPs follow the configuration and the health, as they are now.
    private func followConfiguration() throws {
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
