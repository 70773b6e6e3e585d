internal import Addresses
internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import NIOPosix
internal import ServiceConfiguration

/// The steps by which the director follows its network, in order. `NextHops`, `VIPAddresses` and `ManagedResources`
/// decide, and return findings to log and publish.
extension Director {
    func report(_ findings: NetworkFindings) {
        for line in findings.lines { logger.log(level: line.level, "\(line.text)", metadata: line.metadata) }
        for (service, reason) in findings.restored { publish(.restored, of: service, reason: reason) }
    }

    // MARK: Next hops

    /// Updates the paths to real servers by the kernel's routes, neighbours and links. `limit` is the largest number of
    /// real servers to look up, each in its turn.
    func refreshPaths(atMost limit: Int = .max) {
        guard let running else { return }
        // Interfaces come first, as frames for a MAC that the data plane lacks are lost.
        attempt("follow the interfaces") { try refreshInterfaces() }
        report(
            nextHops.updateAll(
                atMost: limit, for: configuration, on: running.dataPlane, journal: running.journal, at: clock.now))
    }

    /// Updates the interfaces' state. Announces the VIPs where a link is up again, as switches have to relearn their
    /// port.
    private func refreshInterfaces() throws { announce(on: try running?.dataPlane.followInterfaces() ?? []) }

    /// Updates the paths to real servers that the data plane does not have yet.
    func updateRoutes(to servers: Set<IPAddress>) {
        guard let running else { return }
        report(
            nextHops.update(
                servers.sorted(), for: configuration, on: running.dataPlane, journal: running.journal, at: clock.now))
    }

    /// Forgets the paths to real servers that neither the configuration nor the data plane has.
    func forgetPaths() {
        guard let servers = running?.dataPlane.serverAddresses else { return }
        nextHops.forget(except: servers.union(configuration.serverAddresses), at: clock.now)
    }

    /// Returns the destination of a local node's checks, which is the VIP where this machine has it, else the server's
    /// own address.
    func localDestination(vip: IPAddress, server: IPAddress) -> IPAddress {
        nextHops.localDestination(vip: vip, server: server)
    }

    // MARK: The kernel's notifications

    /// Follows the interfaces without a wait for routes. If a VIP has moved to a macvlan, frames for the VIP are lost
    /// until the interfaces are followed.
    func monitorInterfaces() async {
        // `monitorNetwork` logs the error.
        guard let events = try? network.changes(of: [.link, .address]) else { return }
        for await _ in events {
            let began = clock.now
            attempt("follow the interfaces") { try refreshInterfaces() }
            // During a burst, the sleep leaves half of the time for other work.
            try? await clock.sleep(for: began.duration(to: clock.now))
        }
    }

    /// Updates the paths at the kernel's notifications of routes, neighbours and links.
    func monitorNetwork() async {
        let events: AsyncStream<Void>
        do { events = try network.changes(of: Set(RouteMonitor.Kind.allCases)) } catch {
            logger.error(
                "\(error): routes and neighbours are followed every second only", metadata: ["error": "\(error)"])
            return
        }
        for await _ in events {
            let began = clock.now
            refreshPaths()
            // A burst becomes one update. The pause after a long update leaves time for the checks.
            let took = began.duration(to: clock.now)
            try? await clock.sleep(for: max(.milliseconds(20), took * 4))
        }
    }

    // MARK: Path MTUs

    /// The checker of path MTU probes. It has its own event loop, as forged messages can start probes.
    private static let pathProber = Checker(group: MultiThreadedEventLoopGroup(numberOfThreads: 1))
    /// The time-out of a probe. Each size gets three pings, each of which times out after a fortieth of this time.
    private static let probeTimeout: Duration = .seconds(10)

    /// Learns path MTUs between the director and its real servers. Anybody can forge routers' messages. So a message
    /// only starts a probe, and the probe decides.
    func learnPathMTUs() async {
        let errors: AsyncStream<FragmentationNeeded>
        do { errors = try network.routerErrors() } catch {
            logger.error("\(error): path MTUs inside the tunnels are not learnt", metadata: ["error": "\(error)"])
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
            logger.debug(
                "look into the path MTU to \(message.destination): \(error)",
                metadata: ["server": "\(message.destination)", "error": "\(error)"])
            return nil
        }
    }

    /// Pings the real server's own address with packets up to `size`, and applies the result. A router's genuine error
    /// about a ping quotes the ping, which a forged error cannot.
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

    /// Puts the VIPs on the interfaces, and removes the VIPs of an earlier configuration.
    func placeAddresses(journal: ChangeJournal) throws {
        guard let dataPlane = running?.dataPlane else { return }
        let links = try network.links()
        updateNames(in: journal, links)
        let placement = try vipAddresses.place(for: configuration, on: dataPlane, links: links, journal: journal)
        if placement.hasOtherSources { refreshPaths() }
        if let failure = placement.failure { throw failure }
    }

    func announce() { announce(on: running?.dataPlane.interfaces ?? []) }

    private func announce(on links: [Link]) { report(vipAddresses.announce(for: configuration, on: links)) }

    /// Follows interfaces that were made anew under their old names, and changes of the devices that an interface
    /// consists of. Attaches the program where it is missing. If an interface was made anew or got the program, the
    /// VIPs are placed and announced again.
    func rejoinInterfaces() throws {
        guard let current = running, try current.dataPlane.rejoinInterfaces() else { return }
        // This also updates the data plane's description of the interfaces.
        refreshPaths()
        try placeAddresses(journal: current.journal)
        announce()
    }

    // MARK: Repairs

    /// Restores the director's own changes of the machine that somebody else has undone. Called every second.
    func repair() throws {
        guard let running, running.isForwarding else { return }
        attempt("list the interfaces") { updateNames(in: running.journal, try network.links()) }
        for repairs in running.dataPlane.repair() { report(repairs) }
        let repairs = try vipAddresses.restore(for: configuration, on: running.dataPlane, journal: running.journal)
        if !repairs.restored.isEmpty { announce() }
        report(resources.note(repairs, of: configuration.services, at: clock.now))
    }

    /// Updates the names of interfaces in the journal. In memory the names are right even where the file cannot be
    /// written.
    private func updateNames(in journal: ChangeJournal, _ links: [Link]) {
        attempt("follow the names of interfaces") { try journal.follow(links) }
    }

    func report(_ repairs: Repairs) { report(resources.note(repairs, of: configuration.services, at: clock.now)) }
}

/// The log lines and events about the network.
struct NetworkFindings {
    struct Line: Equatable {
        var level: Logger.Level
        var text: String
        var metadata: Logger.Metadata

        init(_ level: Logger.Level, _ text: String, _ metadata: Logger.Metadata) {
            self.level = level
            self.text = text
            self.metadata = metadata
        }
    }

    /// The log lines, in this order.
    private(set) var lines: [Line] = []
    /// The services with restored resources, with the reason of their event. The events follow the log lines.
    var restored: [(service: ServiceAddress, reason: String)] = []

    mutating func log(_ level: Logger.Level, _ text: String, _ metadata: Logger.Metadata) {
        lines.append(Line(level, text, metadata))
    }
}
