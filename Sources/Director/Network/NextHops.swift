internal import Addresses
internal import DataPlane
internal import HealthChecks
internal import HostState
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// The routes to real servers. The type gives them with their next hops to the data plane. It has no clock: the caller
/// passes the time.
struct NextHops {
    typealias Instant = ContinuousClock.Instant

    /// The result of probing a path MTU.
    struct Learning {
        /// Whether the path MTU has decreased, so that the routes have to be followed again.
        var isLearnt = false
        var findings = NetworkFindings()
    }

    private let network: any Network
    private var pathMTUs: LearntPathMTUs
    /// The real server whose route was looked up last, in the order of turns.
    private var lastLookedUp = IPAddress.unspecified(.v4)
    /// The reasons why real servers have no path.
    private var unreachable: [IPAddress: String] = [:]
    /// The errors of look-ups.
    private var failures = RepeatedErrors<IPAddress>()
    /// Whether each VIP is an address of this machine, as looked up since the routes were followed last.
    private var isLocalVIP: [IPAddress: Bool] = [:]

    init(network: any Network, pathMTUs: LearntPathMTUs = LearntPathMTUs()) {
        self.network = network
        self.pathMTUs = pathMTUs
    }

    private var paths: PathFinder { PathFinder(network: network) }

    // MARK: Routes

    /// Follows the routes to all real servers, or to `limit` of them, each in its turn. Removed real servers are
    /// included, as their connections go on.
    mutating func updateAll(
        atMost limit: Int = .max, for configuration: DirectorConfiguration, on dataPlane: any DataPlane,
        journal: ChangeJournal, at now: Instant
    ) -> NetworkFindings {
        let servers = dataPlane.serverAddresses.union(configuration.serverAddresses)
        let next = turn(of: servers, atMost: limit)
        let findings = update(next, for: configuration, on: dataPlane, journal: journal, at: now)
        dataPlane.followRoutes()
        isLocalVIP = [:]
        return findings
    }

    /// Follows the routes to these real servers. A server whose route cannot be looked up keeps its next hop, and does
    /// not prevent the others.
    mutating func update(
        _ servers: [IPAddress], for configuration: DirectorConfiguration, on dataPlane: any DataPlane,
        journal: ChangeJournal, at now: Instant
    ) -> NetworkFindings {
        var findings = NetworkFindings()
        let vips = configuration.vips
        for server in servers {
            do {
                let refusal: String?
                switch try path(to: server, for: configuration, vips: vips, journal: journal) {
                case .found(var route, let link):
                    if !route.isLocal, let mtu = pathMTUs.mtu(to: server, at: now) { route.mtu = min(route.mtu, mtu) }
                    refusal = try dataPlane.setRoute(route, by: link, to: server)
                case .none(let reason):
                    _ = try dataPlane.setRoute(nil, by: nil, to: server)
                    refusal = reason
                }
                note(refusal, of: server, in: &findings)
                if failures.settle(server) {
                    findings.log(
                        .notice, "\(Self.work(on: server)): no error any more", ["server": "\(server)"])
                }
            } catch {
                guard failures.isNews(server, "\(error)", at: now) else { continue }
                findings.log(
                    .error, "\(Self.work(on: server)): \(error)", ["server": "\(server)", "error": "\(error)"])
            }
        }
        return findings
    }

    private static func work(on server: IPAddress) -> String { "follow the route to \(server)" }

    /// Notes the reason why the real server has no path, or nil where it has a path. Logs changes.
    private mutating func note(_ refusal: String?, of server: IPAddress, in findings: inout NetworkFindings) {
        if let refusal {
            if unreachable.updateValue(refusal, forKey: server) != refusal {
                findings.log(
                    .warning, "no way to \(server): \(refusal)", ["server": "\(server)", "reason": "\(refusal)"])
            }
        } else if unreachable.removeValue(forKey: server) != nil {
            findings.log(.notice, "\(server) is reachable again", ["server": "\(server)"])
        }
    }

    /// Returns the next real servers in the order of turns, at most `limit` of them.
    private mutating func turn(of servers: Set<IPAddress>, atMost limit: Int) -> [IPAddress] {
        let sorted = servers.sorted()
        guard sorted.count > limit else { return sorted }
        let first = sorted.firstIndex { $0 > lastLookedUp } ?? 0
        let next = (0..<limit).map { sorted[(first + $0) % sorted.count] }
        lastLookedUp = next.last ?? lastLookedUp
        return next
    }

    /// Finds the path to a real server, except in two cases. A local node of a service with every port would open all
    /// of this machine's ports. A tunnelled packet must not have a VIP as its outer source. `vips` are the VIPs of all
    /// services.
    private func path(
        to server: IPAddress, for configuration: DirectorConfiguration, vips: Set<IPAddress>, journal: ChangeJournal
    ) throws -> PathFinder.Result {
        let result = try paths.path(to: server, journal: journal)
        guard case .found(let path, _) = result else { return result }
        if path.isLocal {
            return AddressRefusals.reasonAgainstLocalNode(server, of: configuration).map { .none($0) } ?? result
        }
        guard vips.contains(path.source) else { return result }
        return .none(
            "the kernel chooses \(path.source), a VIP, as the source of packets to \(server), and real servers drop what "
                + "comes from an address of their own (give this machine another address, or the route a 'src')")
    }

    /// Returns whether the next hops of these real servers are resolved. Has the kernel resolve the others. `update`
    /// logs routes that cannot be looked up.
    func areResolved(_ servers: Set<IPAddress>, journal: ChangeJournal) -> Bool {
        var areResolved = true
        for server in servers {
            if case .found(let route, let link?)? = try? paths.path(to: server, journal: journal), link.isEthernet,
                route.nextHopMAC == nil
            {
                areResolved = false
            }
        }
        return areResolved
    }

    /// Broadcasts an ARP request for the next hop to a silent real server.
    func requestMAC(_ server: IPAddress) { paths.requestMAC(server) }

    /// Returns the last reason why the real server has no path.
    func reasonOfNoWay(to server: IPAddress) -> String { unreachable[server] ?? "no way to \(server) is known yet" }

    /// Returns the destination of a local node's checks. This is the VIP where this machine has it, as for clients'
    /// packets, else the server's own address. The result of the look-up is kept until the routes are followed again.
    mutating func localDestination(vip: IPAddress, server: IPAddress) -> IPAddress {
        if let isLocal = isLocalVIP[vip] { return isLocal ? vip : server }
        guard let route = try? network.route(to: vip) else { return server }
        isLocalVIP[vip] = route.isLocal
        return route.isLocal ? vip : server
    }

    /// Forgets expired path MTUs, and all real servers except these.
    mutating func forget(except servers: Set<IPAddress>, at now: Instant) {
        pathMTUs.forget(except: servers, at: now)
        unreachable = unreachable.filter { servers.contains($0.key) }
    }

    // MARK: Path MTUs

    /// Begins a probe after a router's message. Returns the packet size of the probe, or nil where the message is
    /// ignored. The quoted packet has to be one that the director can have sent by a path through routers. Where the
    /// flow is quoted, the data plane has to confirm it (`mayHaveSent`).
    mutating func beginProbe(
        for error: FragmentationNeeded, of configuration: DirectorConfiguration, on dataPlane: any DataPlane,
        at now: Instant
    ) throws -> UInt32? {
        let server = error.destination
        guard let path = dataPlane.route(to: server), !path.isLocal,
            error.source == path.source || configuration.outerSources?.contains(error.source) == true,
            error.innerDestination.map(configuration.vips.contains) ?? true,
            pathMTUs.mayProbe(server, claimed: error.mtu, present: path.mtu, at: now)
        else { return nil }
        do {
            guard try Self.isConfirmed(error, by: dataPlane) else { return nil }
            guard try paths.isRouted(server) else {
                pathMTUs.postponeProbe(server, at: now)
                return nil
            }
        } catch {
            pathMTUs.postponeProbe(server, at: now)
            throw error
        }
        pathMTUs.beginProbe(server)
        return path.mtu
    }

    private static func isConfirmed(_ error: FragmentationNeeded, by dataPlane: any DataPlane) throws -> Bool {
        switch error.content {
        case .unknown: true
        case .other: false
        case .flow(let ends):
            try dataPlane.mayHaveSent(ends, to: error.destination)
        }
    }

    /// Applies the verdict of the probe with packets of `size`. `present` is the path's MTU now.
    mutating func endProbe(
        for error: FragmentationNeeded, size: UInt32, present: UInt32, _ verdict: CheckVerdict, at now: Instant
    ) -> Learning {
        let server = error.destination
        var learning = Learning()
        let passing = verdict.pathMTU.map { UInt32($0) }
        if let mtu = pathMTUs.endProbe(server, passing: passing, present: present, at: now) {
            learning.isLearnt = true
            learning.findings.log(
                .notice, "the path MTU to \(server) is \(mtu): larger packets do not pass, as \(error.router) says",
                ["server": "\(server)", "router": "\(error.router)", "mtu": "\(mtu)"])
            return learning
        }
        if case .failed(let failure) = verdict, failure.isOwn { return learning }
        guard pathMTUs.mayComplain(of: server, at: now) else { return learning }
        let claim = "\(error.router) says that packets to \(server) are too big (MTU \(error.mtu))"
        let answer =
            passing == nil ? "and no ping shows whether they are" : "but a ping of \(size) bytes passes"
        learning.findings.log(
            .warning, "\(claim), \(answer): the path MTU stays \(present)",
            ["server": "\(server)", "router": "\(error.router)", "mtu": "\(present)"])
        return learning
    }
}
