internal import Addresses
internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import NIOPosix
internal import ServiceConfiguration

/// The order in which the director follows its network. `NextHops`, `VIPAddresses` and `ManagedResources` decide, and return
/// what is to be logged and told.
extension Director {
    func report(_ findings: NetworkFindings) {
        for line in findings.lines { logger.log(level: line.level, "\(line.text)") }
        for (service, reason) in findings.restored { publish(.restored, of: service, reason: reason) }
    }

    // MARK: Next hops

    /// Follows routes, neighbours and links. `limit`: at most so many real servers are looked up, each in its turn.
    func refreshPaths(atMost limit: Int = .max) {
        guard let running else { return }
        // Interfaces come first: frames for a MAC that the data plane does not know yet are lost.
        attempt("follow the interfaces") { try refreshInterfaces() }
        report(
            nextHops.followAll(
                atMost: limit, for: configuration, on: running.dataPlane, journal: running.journal, at: clock.now))
    }

    /// Follows the interfaces' state: where a cable is back, switches have to learn anew where the VIPs are.
    private func refreshInterfaces() throws { announce(on: try running?.dataPlane.followInterfaces() ?? []) }

    /// Follows the routes to real servers that the data plane does not have yet.
    func followRoutes(to servers: Set<IPAddress>) {
        guard let running else { return }
        report(
            nextHops.follow(
                servers.sorted(), for: configuration, on: running.dataPlane, journal: running.journal, at: clock.now))
    }

    /// Forgets the paths to real servers of which nothing is left.
    func forgetPaths() {
        guard let servers = running?.dataPlane.serverAddresses else { return }
        nextHops.forget(except: servers.union(configuration.serverAddresses), at: clock.now)
    }

    /// Returns where a check of a local node goes: to the VIP where this machine has it, as clients' packets do.
    func localDestination(vip: IPAddress, server: IPAddress) -> IPAddress {
        nextHops.localDestination(vip: vip, server: server)
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

    // MARK: Path MTUs

    /// Runs probes on an event loop of its own, which strangers may keep busy.
    private static let pathProber = Checker(group: MultiThreadedEventLoopGroup(numberOfThreads: 1))
    /// A size is given up after three silences of a fortieth of it.
    private static let probeTimeout: Duration = .seconds(10)

    /// Learns path MTUs between the director and its real servers. Anybody can forge what routers say: their messages are a
    /// reason to look, and the director's own probes decide.
    func followPathMTUs() async {
        let errors: AsyncStream<FragmentationNeeded>
        do { errors = try network.routerErrors() } catch {
            logger.error("\(error): path MTUs inside the tunnels are not learnt")
            return
        }
        await withDiscardingTaskGroup { group in
            for await error in errors {
                guard let size = beginProbe(for: error) else { continue }
                group.addTask { await self.probe(size: size, for: error) }
            }
        }
    }

    private func beginProbe(for message: FragmentationNeeded) -> UInt32? {
        guard let dataPlane = running?.dataPlane else { return nil }
        do {
            return try nextHops.beginProbe(for: message, of: configuration, on: dataPlane, at: clock.now)
        } catch {
            logger.debug("look into the path MTU to \(message.destination): \(error)")
            return nil
        }
    }

    /// Pings the real server's own address, and believes the result. What routers quote of a ping tells it from a forged one.
    private func probe(size: UInt32, for error: FragmentationNeeded) async {
        let server = error.destination
        let verdict: CheckVerdict
        do {
            let check = try MTUCheck(size: Int(size))
            verdict = await Self.pathProber.ask(
                Checker.Question(id: 0, check: .mtu(check), way: .direct(server), timeout: Self.probeTimeout)
            ).verdict
        } catch {
            verdict = .failed(CheckVerdict.Failure(stage: .start, reason: "\(error)", isOwn: true))
        }
        let present = running?.dataPlane.route(to: server)?.mtu ?? size
        let learning = nextHops.endProbe(for: error, size: size, present: present, verdict, at: clock.now)
        report(learning.findings)
        if learning.isLearnt { refreshPaths() }
    }

    // MARK: VIPs

    private var vipAddresses: VIPAddresses { VIPAddresses(network: network) }

    /// Puts the VIPs on the interfaces, and takes off those that an earlier configuration had put there.
    func placeAddresses(journal: ChangeJournal) throws {
        guard let dataPlane = running?.dataPlane else { return }
        let links = try network.links()
        followNames(in: journal, links)
        let placement = try vipAddresses.place(for: configuration, on: dataPlane, links: links, journal: journal)
        if placement.hasOtherSources { refreshPaths() }
        if let failure = placement.failure { throw failure }
    }

    func announce() { announce(on: running?.dataPlane.interfaces ?? []) }

    private func announce(on links: [Link]) { report(vipAddresses.announce(for: configuration, on: links)) }

    /// Takes an interface that was made anew under its old name.
    func rejoinInterfaces() throws {
        guard let current = running, try current.dataPlane.rejoinInterfaces() else { return }
        // With a description of the interfaces.
        refreshPaths()
        try placeAddresses(journal: current.journal)
        announce()
    }

    // MARK: Repairs

    /// Puts back what somebody took away of what the director put into the machine. Called every second.
    func repair() throws {
        guard let running, running.isForwarding else { return }
        attempt("list the interfaces") { followNames(in: running.journal, try network.links()) }
        for repairs in running.dataPlane.repair() { report(repairs) }
        let repairs = try vipAddresses.restore(for: configuration, on: running.dataPlane, journal: running.journal)
        if !repairs.restored.isEmpty { announce() }
        report(resources.note(repairs, of: configuration.services, at: clock.now))
    }

    /// Where the file cannot be written, the journal itself has the names.
    private func followNames(in journal: ChangeJournal, _ links: [Link]) {
        attempt("follow the names of interfaces") { try journal.follow(links) }
    }

    func report(_ repairs: Repairs) { report(resources.note(repairs, of: configuration.services, at: clock.now)) }
}

/// What the director is to log and to tell of its network.
struct NetworkFindings {
    struct Line: Equatable {
        var level: Logger.Level
        var text: String

        init(_ level: Logger.Level, _ text: String) {
            self.level = level
            self.text = text
        }
    }

    /// Lines of the log, in this order.
    private(set) var lines: [Line] = []
    /// Services of which resources were put back, with the event's reason. They are told after the lines are logged.
    var restored: [(service: ServiceAddress, reason: String)] = []

    mutating func log(_ level: Logger.Level, _ text: String) { lines.append(Line(level, text)) }
}
