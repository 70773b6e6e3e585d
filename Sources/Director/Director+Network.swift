internal import DataPlane
internal import FoundationEssentials
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// Follows the network, and runs what the director does over and over.
extension Director {
    /// Follows routes, neighbours and links. `limit`: at most so many real servers are looked up, each in its turn.
    func refreshPaths(atMost limit: Int = .max) {
        guard let current = running else { return }
        // Interfaces come first: frames for a MAC that the data plane does not know yet are lost.
        attempt("follow the interfaces") { try refreshInterfaces() }
        // Removed real servers are followed, too: their connections go on.
        let servers = current.dataPlane.serverAddresses.union(configuration.serverAddresses)
        followRoutes(to: nextServers(of: servers, atMost: limit))
        current.dataPlane.followRoutes()
        isLocalVIP = [:]
    }

    /// Follows the interfaces' state: where a cable is back, switches have to learn anew where the VIPs are.
    func refreshInterfaces() throws {
        for link in try running?.dataPlane.followInterfaces() ?? [] { announce(on: link) }
    }

    /// Looks up the ways to real servers. One whose route cannot be looked up keeps the way that it has, and keeps no other
    /// from being followed.
    func followRoutes(to servers: [IPv4Address]) {
        guard let current = running else { return }
        let vips = configuration.vips
        for server in servers {
            attempt("follow the route to \(server)") {
                let refusal: String?
                switch try way(to: server, journal: current.journal, vips: vips) {
                case .found(var route, let link):
                    if !route.isLocal, let mtu = pathMTUs.mtu(to: server, at: clock.now) {
                        route.mtu = min(route.mtu, mtu)
                    }
                    refusal = try current.dataPlane.setRoute(route, by: link, to: server)
                case .none(let reason):
                    _ = try current.dataPlane.setRoute(nil, by: nil, to: server)
                    refusal = reason
                }
                if let refusal {
                    if unreachable.updateValue(refusal, forKey: server) != refusal {
                        logger.warning("no way to \(server): \(refusal)")
                    }
                } else if unreachable.removeValue(forKey: server) != nil {
                    logger.notice("\(server) is reachable again")
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
            group.addTask { await self.watchSYNs() }
            isRunning = true
            updateRounds()
            group.addTask { await self.runRounds() }
        }
        isRunning = false
        notifier.stop()
    }

    /// Follows the interfaces without waiting for routes: where a VIP has moved to a macvlan, its clients' frames are lost until this is known.
    func followInterfaces() async {
        // `followNetwork` logs the error.
        guard let events = try? network.changes(of: [.link, .address]) else { return }
        for await _ in events {
            let began = clock.now
            attempt("follow the interfaces") { try refreshInterfaces() }
            // Bursts leave half of the time for all else.
            try? await clock.sleep(for: began.duration(to: clock.now))
        }
    }

    /// Follows routes, neighbours and links as the kernel tells of their changes.
    func followNetwork() async {
        let events: AsyncStream<Void>
        do { events = try network.changes(of: Set(RouteMonitor.Kind.allCases)) } catch {
            logger.error("\(error): routes and neighbours are followed every second only")
            return
        }
        for await _ in events {
            let began = clock.now
            refreshPaths()
            // Bursts become one refresh, and thousands of real servers leave time for the checks.
            let took = began.duration(to: clock.now)
            try? await clock.sleep(for: max(.milliseconds(20), took * 4))
        }
    }

    /// Does every second what nobody tells of, and tries again what has failed, until cancelled.
    func keepHouse() async {
        while !Task.isCancelled {
            attempt("keep what the director put into this machine") { try repair() }
            attempt("stay attached to the interfaces") { try rejoinInterfaces() }
            attempt("apply the services") { try applyOwedServices() }
            // `followNetwork` follows the changes that the kernel tells; this finds the others.
            refreshPaths(atMost: 100)
            attempt("learn the ports that clients use") { try learnPorts() }
            if let servers = running?.dataPlane.serverAddresses { pathMTUs.forget(except: servers, at: clock.now) }
            try? await clock.sleep(for: .seconds(1))
        }
    }
}
