internal import BPF
internal import CLinux
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
    /// Of the program.
    public static let version = "0.1.0"

    var configuration: DirectorConfiguration
    let instance: InstancePaths
    let logger: Logger
    let checker = Checker()
    var running: Running?
    /// Of each service by its address.
    var states: [ServiceAddress: ServiceState] = [:]
    /// Services whose weights the data plane does not have yet, and what became of their health meanwhile.
    var unsettled: Set<ServiceAddress> = []
    var untold: [(ServiceAddress, HealthTransition)] = []
    var settlesSoon = false
    /// So many changes that are to settle wait for the sweep, since a real server comes back.
    var waitingForSweep = 0
    /// What this machine itself could not ask the last time, by the rounds' ids, and why; and when each reason was said.
    var notAsked: [Int: String] = [:]
    var shortagesTold: [String: ContinuousClock.Instant] = [:]
    /// Services of which it was said that no real server is left.
    var emptied: Set<ServiceAddress> = []
    /// Not before then the next time.
    var settledAt = ContinuousClock.now
    /// Being checked out of turn.
    var underSuspicion: Set<Target> = []
    /// Real servers with unanswered SYNs, by their ids, and how many, when they were last looked at.
    var silentBefore: [UInt32: UInt32] = [:]
    /// What is asked over and over between the begin and the end of `run()`, and when.
    var rounds = Rounds(origin: .now)
    /// Where their answers come.
    var inbox: Checker.Inbox?
    var isRunning = false
    /// Until the next round is due.
    var rest: Task<Void, Never>?
    var restsUntil = ContinuousClock.now
    /// No round begins before then.
    var beginsNext = ContinuousClock.now
    var isReloading = false
    var pathMTUs = LearntPathMTUs(floor: LearntPathMTUs.kernelFloor)
    /// The data plane refused the last change, which is tried again.
    var owesServices = false
    /// The real server whose way was looked up last, in turn.
    var lastLookedUp = IPv4Address(0)
    /// Real servers to which there is no way, and why.
    var unreachable: [IPv4Address: String] = [:]
    /// What operators changed by hand.
    var overrides = Overrides()
    public nonisolated let events = EventLog()
    let notifier: Notifier
    /// When events were told last that a later one may undo.
    var lastTold: [Aspect: Date] = [:]
    /// Services that have no real server for new connections, as was told.
    var withoutServer: Set<ServiceAddress> = []
    /// Services whose state at their start has been told, or is going to be.
    var begun: Set<ServiceAddress> = []
    var upkeep = Upkeep()
    /// Errors of what is done again and again.
    var repeatedErrors = RepeatedErrors<String>()
    var openEvents = OpenEvents()
    /// They are to be written.
    var remembersSoon = false
    /// What flap damping holds against real servers is to be written.
    var remembersDamping = false
    var checkStatistics: [ServiceAddress: [Probe: CheckStatistics]] = [:]
    let started = Date()

    /// What a start makes and a stop takes away.
    struct Running {
        var dataPlane: XDPDataPlane
        var journal: ChangeJournal
        var ingress: [Ingress]
        var paths: PathFinder
        var checkDevice: CheckDevice
        var elsewhere: Elsewhere
        var listening: Set<Int32> = []
        /// Where GRO would merge frames before the program sees them.
        var keptApart: Set<Change> = []
        var isForwarding = false
        /// At least so much the tables have room for.
        var capacity: Capacity
    }

    /// SYNs in a row without a completed handshake that make a real server silent. At 30 % loss of a healthy one's
    /// answers four in a row are one in a hundred, and they have to fill half a second besides.
    static let silentAfter: UInt32 = 4
    /// So many trigger a check at once.
    static let suspiciousAfter: UInt32 = 2

    public init(configuration: DirectorConfiguration, instance: InstancePaths, logger: Logger) {
        self.configuration = configuration
        self.instance = instance
        self.logger = logger
        notifier = Notifier(logger: logger)
    }

    // MARK: Start and stop

    /// Puts everything in place, or takes over what the last daemon left. A failure leaves the machine as it was.
    public func start() async throws {
        guard clinux_effective_capabilities() >> 12 & 1 == 1 else {
            throw DirectorError(.noPrivilege, "run as a director: CAP_NET_ADMIN is missing; start it as root")
        }
        silenceLibbpf()
        let journal: ChangeJournal
        do {
            journal = try Self.journal(instance)
            // What forwards, forwards on whatever becomes of this start.
            _ = try Self.remember(instance, in: journal, logger: logger)
        } catch { throw DirectorError(error) }
        let inherited = journal.changes
        do {
            try await start(journal: journal)
        } catch {
            running = nil
            _ = journal.undoAll(except: inherited) { change, failure in
                if let failure { logger.error("undo \(change): \(failure)") }
            }
            throw DirectorError(error)
        }
    }

    /// In the order of what may fail: the services of a data plane that is taken over change last.
    func start(journal: ChangeJournal) async throws {
        if configuration.services.isEmpty { return }
        let ingress = try Self.ingress(configuration, directory: instance.existingBPFDirectory() ?? "") {
            logger.warning("\($0)")
        }
        try Self.refuseEveryPortOfThisDirector(configuration)
        try Self.refuseAddressesOfThisMachine(configuration, journal: journal.changes)
        let (directory, _, note) = try instance.bpfDirectory(journal: journal)
        if let note { logger.warning("\(note)") }
        let attachments = try Self.attachments(configuration, ingress: ingress, directory: directory)
        for pin in XDPDataPlane.pins(directory: directory) { try journal.make(.pin(path: pin)) {} }
        // Before the program, and restored after it: some drivers refuse the one beside the other.
        let offloads = try turnOffloadsOff(of: ingress, journal: journal)
        for attachment in attachments { try journal.make(.attachment(path: attachment.pin)) {} }
        let capacity = Capacity(connections: configuration.connections, services: desiredServices)
        let dataPlane = try Self.dataPlane(
            configuration, directory: directory, capacity: capacity, ingress: ingress, attachments: attachments.count)
        let adopted = try dataPlane.snapshot()
        let device = try Self.checkDevice(
            below: directory, journal: journal, checks: configuration.asksAnything, for: dataPlane)
        running = Running(
            dataPlane: dataPlane, journal: journal, ingress: ingress,
            paths: try PathFinder(journal: journal, transmitting: ingress.transmitting), checkDevice: device,
            elsewhere: try Elsewhere(directory: directory, journal: journal), capacity: capacity)
        running?.paths.isNative = attachments.contains { $0.modes.first == .native }
        takeOverOverrides()
        try takeOverHealth(from: adopted)
        try describeIngress(try LinkTree())
        writeSettings(to: dataPlane)
        if !adopted.services.isEmpty {
            // Nothing of the services has changed where this fails.
            try attach(dataPlane, to: attachments)
            // A new real server gets no packet before there is a way to it.
            refreshPaths()
        }
        do {
            try applyServices()
        } catch {
            // The old services go on, by the old program or the new one.
            if !adopted.services.isEmpty { try? dataPlane.apply(adopted.services.map(DesiredService.init)) }
            throw error
        }
        refreshPaths()
        // A first packet would otherwise be lost to an ARP that is still out.
        let deadline = ContinuousClock.now + .milliseconds(300)
        while try dataPlane.snapshot().services.contains(where: { $0.servers.contains { !$0.hasNextHop } }),
            ContinuousClock.now < deadline
        {
            try await Task.sleep(for: .milliseconds(10))
            refreshPaths()
        }
        if adopted.services.isEmpty { try attach(dataPlane, to: attachments) }
        refreshPaths()
        dropWhatIsNoLongerWanted(journal, attachments: attachments, offloads: offloads)
        // Before the addresses, for which ARP would be answered.
        try watchElsewhere()
        try warnOfSubnetsElsewhere()
        try placeAddresses(journal: journal)
        announce()
        running?.isForwarding = true
        rememberDamping()
        let names = configuration.services.map(\.address.description).listed
        let devices = try ingress.devices.map { device in
            "\(device.name) (XDP \(try XDPAttachment.of(interface: device.index)?.mode.rawValue ?? "off"))"
        }
        logger.notice(
            "\(adopted.services.isEmpty ? "" : "took over, ")forwarding \(names) on \(devices.joined(separator: ", "))")
        tellWhatBegins()
    }

    static func dataPlane(
        _ configuration: DirectorConfiguration, directory: String, capacity: Capacity, ingress: [Ingress],
        attachments: Int
    ) throws -> XDPDataPlane {
        let isBridged = ingress.contains(where: \.isBridged)
        return try XDPDataPlane(
            directory: directory, capacity: capacity, answersByRedirect: ingress.hasVeth,
            traits: PacketTraits(
                hasSeveralIngress: attachments > 1 || isBridged, outerSources: configuration.outerSources))
    }

    func writeSettings(to dataPlane: XDPDataPlane) {
        dataPlane.setTimeouts(configuration.timeouts)
        dataPlane.setHalfOpenLimit(configuration.halfOpenLimit.map(UInt32.init) ?? dataPlane.defaultHalfOpenLimit)
        dataPlane.setSilentAfter(configuration.watchesSYNs ? Self.silentAfter : 0)
    }

    /// What a start would fail for, without changing anything: asked before a running daemon is told to go.
    public static func preflight(_ configuration: DirectorConfiguration, instance: InstancePaths) throws {
        silenceLibbpf()
        do {
            if configuration.services.isEmpty { return }
            let directory = instance.existingBPFDirectory() ?? ""
            let ingress = try Self.ingress(configuration, directory: directory)
            try refuseEveryPortOfThisDirector(configuration)
            try refuseAddressesOfThisMachine(configuration, journal: ChangeJournal.read(path: instance.journal))
            _ = try attachments(configuration, ingress: ingress, directory: directory)
            try XDPDataPlane.tryLoading()
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
        return Self.undo(running.journal, instance: instance, logger: logger)
    }

    /// Removes what a director left, without one running. Nil where there was nothing.
    public static func cleanup(instance: InstancePaths, logger: Logger) throws -> Bool? {
        let journal = try journal(instance)
        let inDoubt = try remember(instance, in: journal, logger: logger) ? addressesInDoubt(instance) : []
        if journal.changes.isEmpty { return nil }
        let complete = undo(journal, instance: instance, logger: logger)
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

    static func undo(_ journal: ChangeJournal, instance: InstancePaths, logger: Logger) -> Bool {
        let complete = journal.undoAll { change, failure in
            if let failure { logger.error("remove \(change): \(failure)") } else { logger.debug("removed \(change)") }
        }
        // In the run directory it is known as long as there is something to take over.
        if instance.stateDirectory == instance.runDirectory { unlink(instance.openEvents) }
        unlink(instance.damping)
        // Whoever made the directory that instances share, the last one to leave removes it.
        instance.removeBPFDirectoryIfEmpty()
        return complete
    }
}
