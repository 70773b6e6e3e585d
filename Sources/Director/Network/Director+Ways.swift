internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// The director follows interfaces, and the ways to real servers.
extension Director {
    /// Follows routes, neighbours and links. `limit`: at most so many real servers are looked up, each in its turn.
    func refreshPaths(atMost limit: Int = .max) {
        guard let current = running else { return }
        // Interfaces come first: frames for a MAC that the data plane does not know yet are lost.
        attempt("follow the interfaces") { try refreshInterfaces() }
        // Removed real servers are followed, too: their connections go on.
        let servers = current.dataPlane.serverAddresses.union(configuration.serverAddresses)
        followRoutes(to: ways.next(of: servers, atMost: limit))
        current.dataPlane.followRoutes()
        ways.forgetLocalVIPs()
    }

    /// Follows the interfaces' state: where a cable is back, switches have to learn anew where the VIPs are.
    private func refreshInterfaces() throws {
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
                switch ways.note(refusal, of: server) {
                case nil: break
                case .lost(let reason)?: logger.warning("no way to \(server): \(reason)")
                case .found?: logger.notice("\(server) is reachable again")
                }
            }
        }
    }

    /// Where a check of a local node goes: to the VIP where this machine has it, as clients' packets do.
    func localDestination(vip: IPv4Address, server: IPv4Address) -> IPv4Address {
        let isLocal = ways.isLocal(vip) { (try? network.route(to: vip))?.isLocal }
        return isLocal == true ? vip : server
    }

    // MARK: Changes that the kernel tells

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
}
