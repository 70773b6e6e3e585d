internal import BPF
internal import DataPlane
internal import FoundationEssentials
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// One desired state, out of the configuration, health and the network; and following what changes there.
extension Director {
    func applyServices() throws {
        try running?.dataPlane.apply(desiredServices)
    }

    var desiredServices: [DesiredService] { desiredServices { _ in true } }

    func desiredServices(where isWanted: (VirtualService) -> Bool) -> [DesiredService] {
        configuration.services.filter(isWanted).map { service in
            let state = states[service.address]
            let policy = configuration.policy(of: service.address)
            var desired = DesiredService(service, startsSlowly: policy.slowStart != nil)
            for server in service.servers {
                desired.effective[server.address] = state?.effectiveWeight(of: server.address)
                if overrides.movesPersistent(server.address, in: service) {
                    desired.movesPersistent.insert(server.address)
                }
                if overrides.movesDatagrams(server.address, in: service) {
                    desired.movesDatagrams.insert(server.address)
                }
            }
            if let sorry = policy.sorryServer {
                desired.configured.servers.append(RealServer(address: sorry))
                desired.effective[sorry] = .sorryServer(serves: state?.isReplaced ?? false)
            }
            return desired
        }
    }

    /// Follows routes, neighbours and links; `atMost`: of so many real servers, each in its turn.
    func refreshPaths(atMost limit: Int = .max) {
        guard let current = running else { return }
        // First: frames for a MAC that the packet program does not know yet are lost.
        attempt("follow the interfaces") { try refreshIngress() }
        // Removed real servers, too: their connections go on.
        let servers = current.dataPlane.serverAddresses.union(configuration.serverAddresses)
        followRoutes(to: nextServers(of: servers, atMost: limit))
        let paths = servers.compactMap { current.dataPlane.path(to: $0) }.filter { !$0.isLocal }
        attempt("forget the programs of checks on interfaces that are gone") { try forgetInterfacesThatAreGone() }
        let listening = running?.listening ?? []
        for interface in interfacesOfAnswers.union(paths.map(\.routeInterface)).subtracting(listening) {
            attempt("take in answers to checks on \(Self.name(ofInterface: interface))") { try listen(on: interface) }
        }
        let sources = Set(paths.map(\.source))
        if sources.count > XDPDataPlane.maximumCheckAddresses, running?.checkDevice.takesChecks == true {
            logger.error(
                "checks leave from \(sources.count) addresses; answers are taken in for \(XDPDataPlane.maximumCheckAddresses)"
            )
        }
        current.dataPlane.setCheckAddresses(sources.sorted())
    }

    /// Looks up the ways to real servers. One whose route cannot be looked up keeps the way that it has, and keeps no other
    /// from being followed.
    func followRoutes(to servers: [IPv4Address]) {
        guard let current = running else { return }
        let vips = configuration.vips
        for server in servers {
            attempt("follow the route to \(server)") {
                switch try way(to: server, by: current.paths, vips: vips) {
                case .found(var path):
                    if !path.isLocal, let mtu = pathMTUs.mtu(to: server) { path.mtu = min(path.mtu, mtu) }
                    if unreachable.removeValue(forKey: server) != nil { logger.notice("\(server) is reachable again") }
                    try current.dataPlane.setPath(path, to: server)
                case .none(let reason):
                    try current.dataPlane.setPath(nil, to: server)
                    if unreachable.updateValue(reason, forKey: server) != reason {
                        logger.warning("no way to \(server): \(reason)")
                    }
                }
            }
        }
    }

    private func nextServers(of servers: Set<IPv4Address>, atMost limit: Int) -> [IPv4Address] {
        let sorted = servers.sorted()
        guard sorted.count > limit else { return sorted }
        let first = sorted.firstIndex { $0 > lastLookedUp } ?? 0
        let next = (0..<limit).map { sorted[(first + $0) % sorted.count] }
        lastLookedUp = next.last ?? lastLookedUp
        return next
    }

    private static func name(ofInterface index: Int32) -> String {
        (try? RouteSocket().link(index: index))?.name ?? "interface \(index)"
    }

    func listen(on interface: Int32) throws {
        guard let device = running?.checkDevice, device.takesChecks, running?.listening.contains(interface) == false
        else { return }
        guard let link = try RouteSocket().link(index: interface) else { return }
        try device.listen(on: link)
        running?.listening.insert(interface)
    }

    /// Interfaces of containers come and go, each with a program of checks.
    private func forgetInterfacesThatAreGone() throws {
        guard let current = running else { return }
        let tree = try LinkTree()
        running?.listening.formIntersection(tree.all.map(\.index))
        // An interface that was renamed is still there.
        if let (_, error) = current.elsewhere.followNames(tree.all).first { throw error }
        // ipvsd0 is made anew where it is gone.
        let gone = current.journal.interfacesOfPrograms(priority: CheckPrograms.priority)
            .subtracting(tree.all.map(\.name) + [CheckDevice.name])
        try gone.sorted().forEachDespiteErrors {
            try current.journal.undoPrograms(priority: CheckPrograms.priority, on: $0)
        }
    }

    // MARK: Running

    /// Checks, follows the network and sweeps, until cancelled.
    public func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.followInterfaces() }
            group.addTask { await self.followNetwork() }
            group.addTask { await self.keepHouse() }
            group.addTask { await self.keepSwept() }
            group.addTask { await self.followPathMTUs() }
            group.addTask { await self.watchTime() }
            isRunning = true
            followRounds()
            group.addTask { await self.runRounds() }
        }
        isRunning = false
        notifier.stop()
    }

    /// Does not wait for routes: where a VIP has moved to a macvlan, its clients' frames are lost until this is known.
    func followInterfaces() async {
        // `followNetwork` logs the error.
        guard let events = try? NetworkChanges.events(of: [.link, .address]) else { return }
        for await _ in events {
            let began = ContinuousClock.now
            attempt("follow the interfaces") { try refreshIngress() }
            // Bursts leave half of the time for all else.
            try? await Task.sleep(for: began.duration(to: .now))
        }
    }

    func followNetwork() async {
        let events: AsyncStream<Void>
        do { events = try NetworkChanges.events() } catch {
            logger.error("\(error): routes and neighbours are followed every second only")
            return
        }
        for await _ in events {
            let began = ContinuousClock.now
            refreshPaths()
            // Bursts become one refresh, and thousands of real servers leave time for the checks.
            let took = began.duration(to: .now)
            try? await Task.sleep(for: max(.milliseconds(20), took * 4))
        }
    }

    /// Every second.
    func keepHouse() async {
        while !Task.isCancelled {
            attempt("keep what the director put into this machine") { try keepPieces() }
            attempt("stay attached to the interfaces") { try stayAttached() }
            attempt("apply the services") {
                guard owesServices else { return }
                try applyServices()
                owesServices = false
            }
            // What changes is told by `followNetwork`: this is for what is not.
            refreshPaths(atMost: 100)
            attempt("learn the ports that clients use") { try learnPorts() }
            if let servers = running?.dataPlane.serverAddresses { pathMTUs.forget(except: servers) }
            try? await Task.sleep(for: .seconds(1))
        }
    }

    func learnPorts() throws {
        guard let dataPlane = running?.dataPlane else { return }
        var hasNewQuestions = false
        defer { if hasNewQuestions { followRounds() } }
        try dataPlane.learntPorts().filter { isAutomatic($0.key) }.forEachDespiteErrors { address, ports in
            let asked = states[address]?.health.questions
            // Recent ones first; but a client who pokes at closed ports all the time must not keep a real one waiting
            // for ever.
            guard let (forgotten, changes) = states[address]?.learn(ports: ports.prefix(4) + ports.shuffled(), at: .now)
            else { return }
            follow(changes, of: address)
            if states[address]?.health.questions != asked { hasNewQuestions = true }
            for port in forgotten { checkStatistics[address]?[.tcp(port: port)] = nil }
            try dataPlane.forgetLearntPorts(forgotten, of: address)
        }
    }
}
