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

/// The running director. It combines configuration, health, drains and routes to one desired state, which it gives to
/// the data plane.
public actor Director {
    /// The program's version.
    public static let version = "0.2.0"

    var configuration: DirectorConfiguration
    let instance: InstancePaths
    let logger: Logger
    let dataPlanes: any DataPlaneProvider
    let network: any Network
    let checker: any HealthChecker
    let clock: any DirectorClock
    var running: Running?
    var health: HealthSupervisor
    /// The changes that wait for an update of the data plane.
    var applier: Applier
    var checkLoop = CheckLoop()
    /// The queue of reloads.
    var reloads = WaitingLine()
    /// The routes and next hops to real servers.
    var nextHops: NextHops
    /// The repairs of the director's own changes of the machine.
    var resources: ManagedResources
    /// The drains of operators.
    var maintenance: Maintenance
    public nonisolated let events = EventLog()
    let notifier: Notifier
    var publisher = EventPublisher(started: Date())
    /// The runner of repeated work, which does not log the same error each time.
    let work: RepeatedWork

    /// The data plane and journal that a start makes and a stop removes.
    struct Running {
        var dataPlane: any DataPlane
        var journal: ChangeJournal
        var isForwarding = false
    }

    /// The number of unanswered SYNs in a row that make a real server silent. Where 30 % of a healthy server's answers
    /// are lost, four losses in a row have a probability below 1 %. The SYNs also have to span half a second.
    static let silentAfter: UInt32 = 4
    /// The number of unanswered SYNs in a row that start checks out of turn.
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

    /// Runs one of several pieces of work. An error is logged, and does not prevent the other pieces.
    func attempt(_ name: @autoclosure () -> String, _ body: () throws -> Void) { work.attempt(name(), body) }

    // MARK: Start and stop

    /// Starts the director, or takes over the data plane of the last daemon. A failure leaves the machine as it was.
    /// One exception is a data plane of an older layout, which may have been migrated and continues to forward.
    public func start() async throws {
        try network.requirePrivilege()
        let journal: ChangeJournal
        do {
            journal = try Self.journal(instance)
            try journal.follow(network.links())
            // A data plane that forwards is journalled first, so a failed start does not stop it.
            _ = try Self.journalLeftovers(of: instance, in: journal, dataPlanes: dataPlanes, logger: logger)
        } catch { throw DirectorError(error) }
        let inherited = journal.changes
        do {
            try await start(journal: journal)
        } catch {
            running = nil
            // A data plane of an older layout may have been migrated to this start's pins by now.
            let kept =
                inherited.contains(where: \.isPin) ? inherited + journal.changes.filter(\.isPin) : inherited
            _ = journal.undoAll(except: kept) { change, failure in
                guard let failure else { return }
                logger.error(
                    "undo \(change): \(failure)", metadata: ["change": "\(change)", "error": "\(failure)"])
            }
            throw DirectorError(error)
        }
    }

    /// Starts in an order in which an adopted data plane's services change last, after all that may fail.
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
            // A failure here leaves the adopted services unchanged.
            try dataPlane.startForwarding()
            // A new real server gets no packet before it has a next hop.
            refreshPaths()
        }
        do {
            try applyServices()
        } catch {
            // This applies the old services again, under the old or the new packet program.
            if !adopted.services.isEmpty { try? dataPlane.apply(adopted.services.map(VirtualService.init)) }
            throw error
        }
        refreshPaths()
        // The first packets would otherwise be lost while ARP is unresolved.
        let deadline = clock.now + .milliseconds(300)
        while try dataPlane.snapshot().services.contains(where: { $0.servers.contains { !$0.hasNextHop } }),
            clock.now < deadline
        {
            try await clock.sleep(for: .milliseconds(10))
            refreshPaths()
        }
        if adopted.services.isEmpty { try dataPlane.startForwarding() }
        refreshPaths()
        // `completeStart` precedes the placement of VIPs, as the kernel answers ARP for a placed VIP.
        try dataPlane.completeStart()
        try placeAddresses(journal: journal)
        announce()
        running?.isForwarding = true
        saveDampingSoon()
        let names = configuration.services.map(\.address.description).listed
        let devices = try dataPlane.describedInterfaces()
        logger.notice(
            "\(adopted.services.isEmpty ? "" : "took over, ")forwarding \(names) on \(devices.joined(separator: ", "))",
            metadata: [
                "interface": "\(dataPlane.interfaces.map(\.name).joined(separator: ","))",
                "services": "\(configuration.services.count)",
            ])
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

    /// Throws the error that a start would fail with, and changes nothing. `--replace` calls this before the old daemon
    /// stops.
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

    /// Removes the director's changes from the machine. Returns whether all were removed.
    public func stop() -> Bool {
        notifier.stop()
        writeWhatOutlivesDaemon()
        guard let running else { return true }
        self.running = nil
        return Self.undo(running.journal, instance: instance, dataPlanes: dataPlanes, logger: logger)
    }

    /// Removes the changes that an ended director left in the machine. Returns whether all were removed, or nil where
    /// there were no changes.
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
                "the journal was lost, so these VIPs may be the director's own: \(inDoubt.joined(separator: "; "))",
                metadata: ["path": "\(instance.journal)", "addresses": "\(inDoubt.joined(separator: "; "))"])
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
            if let failure {
                logger.error(
                    "remove \(change): \(failure)", metadata: ["change": "\(change)", "error": "\(failure)"])
            } else {
                logger.debug("removed \(change)", metadata: ["change": "\(change)"])
            }
        }
        let isGone = verify(journal, instance: instance, dataPlanes: dataPlanes, logger: logger)
        // A state directory apart from the run directory keeps the open events. In the run directory they last as long
        // as the data plane.
        if instance.stateDirectory == instance.runDirectory { unlink(instance.openEvents) }
        unlink(instance.damping)
        // The last instance to stop removes the directory that instances share.
        dataPlanes.removeEmptyPlaces(instance)
        return complete && isGone
    }

    /// Looks again for the pins and attachments that were removed, and journals what is still there, so that `ipvsd
    /// stop` finds and names them. Returns whether nothing is left. Devices are left out: without the journal they are
    /// recognised by their properties alone, and another instance may have made equal devices meanwhile.
    private static func verify(
        _ journal: ChangeJournal, instance: InstancePaths, dataPlanes: any DataPlaneProvider, logger: Logger
    ) -> Bool {
        do {
            let left = try dataPlanes.leftovers(instance, besides: journal.changes).filter {
                switch $0 {
                case .pin, .attachment: true
                default: false
                }
            }
            for change in left {
                logger.error("remove \(change): it is still there", metadata: ["change": "\(change)"])
                try journal.make(change) {}
            }
            return left.isEmpty
        } catch {
            logger.error("look for pins and attachments that are left: \(error)", metadata: ["error": "\(error)"])
            return false
        }
    }

    // MARK: Leftovers

    /// Journals the changes that a director left without an entry in the journal, as far as they can be found. So a
    /// failed start does not remove a data plane that forwards, and a cleanup finds it. Returns whether changes were
    /// found.
    private static func journalLeftovers(
        of instance: InstancePaths, in journal: ChangeJournal, dataPlanes: any DataPlaneProvider, logger: Logger
    ) throws -> Bool {
        let found = try dataPlanes.leftovers(instance, besides: journal.changes)
        guard !found.isEmpty else { return false }
        logger.warning(
            "a director left changes that \(instance.journal) does not name: \(found.map(\.description).joined(separator: ", "))",
            metadata: ["path": "\(instance.journal)"])
        for change in found { try journal.make(change) {} }
        return true
    }

    /// Returns commands that remove the stored services' VIPs from interfaces. Without a journal it is unknown whether
    /// the director put them there.
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

/// The repeated tasks of a started director.
extension Director {
    /// Checks real servers, follows the network and sweeps the flow table, until cancelled.
    public func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.monitorInterfaces() }
            group.addTask { await self.monitorNetwork() }
            group.addTask { await self.runUpkeep() }
            group.addTask { await self.runSweeps() }
            group.addTask { await self.learnPathMTUs() }
            group.addTask { await self.watchTime() }
            group.addTask { await self.watchSYNs() }
            group.addTask { await self.runChecks() }
        }
        notifier.stop()
    }

    /// Repairs the machine, follows changes that no notification announces, and retries failed work. Runs every second
    /// until cancelled.
    private func runUpkeep() async {
        while !Task.isCancelled {
            attempt("keep what the director put into this machine") { try repair() }
            attempt("stay attached to the interfaces") { try rejoinInterfaces() }
            attempt("apply the services") { try applyOwedServices() }
            // `monitorNetwork` follows the changes that the kernel announces. This call finds the others.
            refreshPaths(atMost: 100)
            attempt("learn the ports that clients use") { try learnPorts() }
            forgetPaths()
            try? await clock.sleep(for: .seconds(1))
        }
    }
}
