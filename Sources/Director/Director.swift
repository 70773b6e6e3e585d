internal import Addresses
internal import DataPlane
internal import FoundationEssentials
internal import Glibc
internal import HealthChecks
public import HostState
internal import LoadBalancing
public import Logging
internal import Netlink
public import ServiceConfiguration
internal import SystemCalls

/// The running director: what is configured, what health says and what routes say become one desired state, which
/// the data plane is made to have.
public actor Director {
    /// The program's version.
    public static let version = "0.1.0"

    var configuration: DirectorConfiguration
    let instance: InstancePaths
    let logger: Logger
    let dataPlanes: any DataPlaneProvider
    let network: any Network
    let checker: any HealthChecker
    let clock: any DirectorClock
    var running: Running?
    var health: HealthSupervisor
    /// Changes that the data plane does not have yet.
    var applier: Applier
    var checkLoop = CheckLoop()
    /// Reloads, which are made one after another.
    var reloads = WaitingLine()
    /// How real servers are reached.
    var nextHops: NextHops
    /// What is known of the repairs of what the director put into the machine.
    var resources: ManagedResources
    /// What operators changed by hand.
    var maintenance: Maintenance
    public nonisolated let events = EventLog()
    let notifier: Notifier
    var publisher = EventPublisher(started: Date())
    /// Work that is repeated and may fail, and whose errors are not logged each time.
    let work: RepeatedWork

    /// What a start makes and a stop takes away.
    struct Running {
        var dataPlane: any DataPlane
        var journal: ChangeJournal
        var isForwarding = false
    }

    /// SYNs in a row without a completed handshake that make a real server silent. At 30 % loss of a healthy one's
    /// answers four in a row are one in a hundred, and they have to fill half a second besides.
    static let silentAfter: UInt32 = 4
    /// So many unanswered SYNs start checks out of turn.
    static let suspiciousAfter: UInt32 = 2

    public init(
        configuration: DirectorConfiguration, instance: InstancePaths, logger: Logger, dataPlanes: any DataPlaneProvider
    ) {
        self.init(
            configuration: configuration, instance: instance, logger: logger,
            environment: DirectorEnvironment(dataPlanes: dataPlanes))
    }

    init(
        configuration: DirectorConfiguration, instance: InstancePaths, logger: Logger,
        environment: DirectorEnvironment
    ) {
        self.configuration = configuration
        self.instance = instance
        self.logger = logger
        dataPlanes = environment.dataPlanes
        network = environment.network
        checker = environment.checker
        let clock = environment.clock
        self.clock = clock
        notifier = Notifier(logger: logger)
        work = RepeatedWork(logger: logger) { clock.now }
        applier = Applier(at: clock.now)
        maintenance = Maintenance(path: instance.overrides)
        health = HealthSupervisor(at: clock.now)
        nextHops = NextHops(
            network: environment.network, pathMTUs: LearntPathMTUs(floor: LearntPathMTUs.kernelFloor))
        resources = ManagedResources(at: clock.now)
    }

    /// Does one of several pieces of work, whose error keeps no other from being done.
    func attempt(_ name: @autoclosure () -> String, _ body: () throws -> Void) { work.attempt(name(), body) }

    // MARK: Start and stop

    /// Puts everything in place, or takes over what the last daemon left. A failure leaves the machine as it was, except
    /// that a data plane of an older layout may have been migrated, and forwards on.
    public func start() async throws {
        try network.requirePrivilege()
        let journal: ChangeJournal
        do {
            journal = try Self.journal(instance)
            try journal.follow(network.links())
            // What forwards, forwards on whatever becomes of this start.
            _ = try Self.journalLeftovers(of: instance, in: journal, dataPlanes: dataPlanes, logger: logger)
        } catch { throw DirectorError(error) }
        let inherited = journal.changes
        do {
            try await start(journal: journal)
        } catch {
            running = nil
            // Where a data plane of an older layout forwarded before, it may by now be what this start has pinned.
            let kept =
                inherited.contains(where: \.isPin) ? inherited + journal.changes.filter(\.isPin) : inherited
            _ = journal.undoAll(except: kept) { change, failure in
                if let failure { logger.error("undo \(change): \(failure)") }
            }
            throw DirectorError(error)
        }
    }

    /// Starts in the order of what may fail: the services of a data plane that is taken over change last.
    func start(journal: ChangeJournal) async throws {
        if configuration.services.isEmpty { return }
        try AddressRefusals.refuse(configuration, journal: journal.changes, network)
        let dataPlane = try dataPlanes.open(
            configuration, demand: demand, instance: instance, journal: journal, logger: logger)
        let adopted = try dataPlane.snapshot()
        running = Running(dataPlane: dataPlane, journal: journal)
        takeOverOverrides()
        try takeOverHealth(from: adopted)
        dataPlane.setLimits(limits)
        if !adopted.services.isEmpty {
            // Nothing of the services has changed where this fails.
            try dataPlane.startForwarding()
            // A new real server gets no packet before there is a way to it.
            refreshPaths()
        }
        do {
            try applyServices()
        } catch {
            // The old services go on, by the old program or the new one.
            if !adopted.services.isEmpty { try? dataPlane.apply(adopted.services.map(VirtualService.init)) }
            throw error
        }
        refreshPaths()
        // A first packet would otherwise be lost to an ARP that is still out.
        let deadline = clock.now + .milliseconds(300)
        while try dataPlane.snapshot().services.contains(where: { $0.servers.contains { !$0.hasNextHop } }),
            clock.now < deadline
        {
            try await clock.sleep(for: .milliseconds(10))
            refreshPaths()
        }
        if adopted.services.isEmpty { try dataPlane.startForwarding() }
        refreshPaths()
        // Before the addresses, for which ARP would be answered.
        try dataPlane.completeStart()
        try placeAddresses(journal: journal)
        announce()
        running?.isForwarding = true
        saveDampingSoon()
        let names = configuration.services.map(\.address.description).listed
        let devices = try dataPlane.describedInterfaces()
        logger.notice(
            "\(adopted.services.isEmpty ? "" : "took over, ")forwarding \(names) on \(devices.joined(separator: ", "))")
        publishInitialStates()
    }

    var demand: DataPlaneDemand { Self.demand(of: configuration, services: desiredServices) }

    private static func demand(of configuration: DirectorConfiguration, services: [VirtualService]) -> DataPlaneDemand {
        DataPlaneDemand(
            services: services, connections: configuration.connections, outerSources: configuration.outerSources,
            managesAddress: configuration.managesAddress, carriesChecks: configuration.asksAnything)
    }

    var limits: DataPlaneLimits {
        DataPlaneLimits(
            timeouts: configuration.timeouts, halfOpen: configuration.halfOpenLimit.map(UInt32.init),
            silentAfter: configuration.watchesSYNs ? Self.silentAfter : 0)
    }

    /// What a start would fail for, without changing anything: asked before a running daemon is told to go.
    public static func preflight(
        _ configuration: DirectorConfiguration, instance: InstancePaths, dataPlanes: any DataPlaneProvider
    ) throws {
        let network = KernelNetwork()
        do {
            try network.requirePrivilege()
            if configuration.services.isEmpty { return }
            try AddressRefusals.refuse(
                configuration, journal: ChangeJournal.read(path: instance.journal), network)
            let services = configuration.services.map(\.forwarding)
            try dataPlanes.preflight(
                configuration, demand: demand(of: configuration, services: services), instance: instance)
        } catch {
            throw DirectorError(error)
        }
    }

    /// Takes everything out of the machine. True if nothing was left.
    public func stop() -> Bool {
        notifier.stop()
        writeWhatOutlivesDaemon()
        guard let running else { return true }
        self.running = nil
        return Self.undo(running.journal, instance: instance, dataPlanes: dataPlanes, logger: logger)
    }

    /// Removes what a director left, without one running. Nil where there was nothing.
    public static func cleanup(
        instance: InstancePaths, dataPlanes: any DataPlaneProvider, logger: Logger
    ) throws -> Bool? {
        let journal = try journal(instance)
        let inDoubt =
            try journalLeftovers(of: instance, in: journal, dataPlanes: dataPlanes, logger: logger)
            ? addressesInDoubt(instance, dataPlanes: dataPlanes) : []
        if journal.changes.isEmpty { return nil }
        let complete = undo(journal, instance: instance, dataPlanes: dataPlanes, logger: logger)
        if !inDoubt.isEmpty {
            logger.warning(
                "the journal was lost: whether VIPs that are still here are the director's own is not known: \(inDoubt.joined(separator: "; "))"
            )
        }
        return complete
    }

    private static func journal(_ instance: InstancePaths) throws -> ChangeJournal {
        do { return try ChangeJournal(path: instance.journal) } catch let error as SystemError
            where error.code == EPROTO
        {
            throw DirectorError(
                .kernel,
                "\(error). To go on without it: 'mv \(instance.journal) \(instance.journal).damaged', then start or clean up again: pins, ipvsd0 and tc programs are found without it; VIPs, offloads and neighbours that it names are not"
            )
        }
    }

    private static func undo(
        _ journal: ChangeJournal, instance: InstancePaths, dataPlanes: any DataPlaneProvider, logger: Logger
    ) -> Bool {
        let complete = journal.undoAll { change, failure in
            if let failure { logger.error("remove \(change): \(failure)") } else { logger.debug("removed \(change)") }
        }
        // In the run directory it is known as long as there is something to take over.
        if instance.stateDirectory == instance.runDirectory { unlink(instance.openEvents) }
        unlink(instance.damping)
        // Whoever made the directory that instances share, the last one to leave removes it.
        dataPlanes.removeEmptyPlaces(instance)
        return complete
    }

    // MARK: Leftovers

    /// Journals what a director left, as far as that can be known without its journal: then a start does not take away
    /// what forwards, and a cleanup finds it.
    private static func journalLeftovers(
        of instance: InstancePaths, in journal: ChangeJournal, dataPlanes: any DataPlaneProvider, logger: Logger
    ) throws -> Bool {
        let found = try dataPlanes.leftovers(instance, besides: journal.changes)
        guard !found.isEmpty else { return false }
        logger.warning(
            "a director left what \(instance.journal) does not name: \(found.map(\.description).joined(separator: ", "))"
        )
        for change in found { try journal.make(change) {} }
        return true
    }

    /// VIPs of the stored services that are still on an interface: without a journal nobody knows who put them there.
    private static func addressesInDoubt(
        _ instance: InstancePaths, dataPlanes: any DataPlaneProvider
    ) -> [String] {
        let network = KernelNetwork()
        guard let stored = try? dataPlanes.stored(instance), let links = try? network.tree(),
            let addresses = try? network.addresses()
        else { return [] }
        let vips = Set(stored.snapshot.services.flatMap(\.listeners).map(\.vip))
        return addresses.filter { vips.contains($0.address) && $0.prefixLength == 32 }.compactMap { entry in
            links.link(index: entry.interface).map { "ip addr del \(entry.address)/32 dev \($0.name)" }
        }
    }
}

extension Change {
    fileprivate var isPin: Bool { if case .pin = self { true } else { false } }
}

/// The work of a director that has started, which is done over and over.
extension Director {
    /// Checks, follows the network and sweeps, until cancelled.
    public func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.followInterfaces() }
            group.addTask { await self.followNetwork() }
            group.addTask { await self.runUpkeep() }
            group.addTask { await self.runSweeps() }
            group.addTask { await self.followPathMTUs() }
            group.addTask { await self.watchTime() }
            group.addTask { await self.watchSYNs() }
            group.addTask { await self.runChecks() }
        }
        notifier.stop()
    }

    /// Does every second what nobody tells of, and tries again what has failed, until cancelled.
    private func runUpkeep() async {
        while !Task.isCancelled {
            attempt("keep what the director put into this machine") { try repair() }
            attempt("stay attached to the interfaces") { try rejoinInterfaces() }
            attempt("apply the services") { try applyOwedServices() }
            // `followNetwork` follows the changes that the kernel tells; this finds the others.
            refreshPaths(atMost: 100)
            attempt("learn the ports that clients use") { try learnPorts() }
            forgetPaths()
            try? await clock.sleep(for: .seconds(1))
        }
    }
}
