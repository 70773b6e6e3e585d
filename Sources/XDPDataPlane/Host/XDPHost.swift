public import Addresses
public import BPF
public import DataPlane
public import HostState
public import LoadBalancing
public import Logging
public import Netlink

/// The XDP data plane of a machine. It joins the packet program and its maps with the interfaces, the check device and
/// the programs beside it. The director's journal has all of its changes of the machine.
public final class XDPHost {
    /// The settings of an XDP data plane.
    public struct Setup {
        /// The interfaces by which clients' packets come in. Without names, they are the interfaces of the VIPs'
        /// subnets, or else of the default route.
        public var interfaces: [String]
        /// The mode of XDP; nil: native where the driver has it, else generic.
        public var mode: XDPMode?
        public var instance: InstancePaths

        public init(interfaces: [String], mode: XDPMode?, instance: InstancePaths) {
            self.interfaces = interfaces
            self.mode = mode
            self.instance = instance
        }
    }

    let setup: Setup
    let journal: ChangeJournal
    let logger: Logger
    let work: RepeatedWork
    /// The directory of all pins, as a path of this process.
    let directory: String
    var demand: DataPlaneDemand
    /// The packet program and its maps. The growth of tables replaces them.
    var tables: XDPDataPlane
    /// The prefix of outer sources with which the packet program was loaded.
    var programOuterSources: IPPrefix?
    var ingress: [Ingress]
    var attachments: [Attachment]
    /// The offloads of ingress devices that have to stay off.
    var offloads: Set<Change>
    /// The offloads of a bond's members that have to stay off. Their GRO would merge frames before the program sees
    /// them.
    var memberOffloads: Set<Change> = []
    var exits: ExitFinder
    var checkDevice: CheckDevice
    /// The interfaces on which answers to checks are accepted.
    var listening: Set<Int32> = []
    var elsewhere: Elsewhere
    /// The time of the last warning about each place of stray packets.
    var straysLogged: [StrayPlace: ContinuousClock.Instant] = [:]
    /// Whether the start is complete. From then on another program may move a VIP at any time.
    var isComplete = false

    /// Loads the packet program, over the tables that an earlier director left. Nothing is attached yet, except by the
    /// migration of an older layout. After an error the caller undoes the journal's changes.
    public init(_ setup: Setup, demand: DataPlaneDemand, journal: ChangeJournal, logger: Logger) throws {
        silenceLibbpf()
        try demand.requireIPv4()
        let vips = Self.inOrder(demand)
        let ingress = try Self.ingress(setup, vips: vips, directory: setup.instance.existingBPFDirectory() ?? "") {
            logger.warning("\($0)", metadata: ["interface": "\($1.name)"])
        }
        let (directory, _, note) = try setup.instance.bpfDirectory(journal: journal)
        if let note { logger.warning("\(note)", metadata: ["path": "\(directory)"]) }
        let attachments = try Self.attachments(setup, ingress: ingress, directory: directory)
        for pin in XDPDataPlane.pins(directory: directory) { try journal.make(.pin(path: pin)) {} }
        // Offloads are turned off before the program is attached, and restored after its removal. Some drivers refuse
        // an offload and a program at the same time.
        let offloads = try Self.turnOffloadsOff(of: ingress, journal: journal, logger: logger)
        for attachment in attachments { try journal.make(.attachment(path: attachment.pin)) {} }
        let tables = try Self.tables(
            demand, directory: directory, ingress: ingress, attachments: attachments.count)
        let device = try Self.checkDevice(
            below: directory, journal: journal, checks: demand.carriesChecks, for: tables)
        let exits = try ExitFinder(transmitting: ingress.transmitting)
        exits.isNative = attachments.contains { $0.modes.first == .native }
        let elsewhere = try Elsewhere(directory: directory, journal: journal)

        self.setup = setup
        self.journal = journal
        self.logger = logger
        work = RepeatedWork(logger: logger)
        self.directory = directory
        self.demand = demand
        self.tables = tables
        programOuterSources = demand.outerSources
        self.ingress = ingress
        self.attachments = attachments
        self.offloads = offloads
        self.exits = exits
        checkDevice = device
        self.elsewhere = elsewhere
        try describeIngress(try LinkTree())
    }

    /// Throws where a start would fail, without changing anything.
    public static func preflight(_ setup: Setup, demand: DataPlaneDemand) throws {
        silenceLibbpf()
        try demand.requireIPv4()
        let directory = setup.instance.existingBPFDirectory() ?? ""
        let ingress = try Self.ingress(setup, vips: inOrder(demand), directory: directory)
        let tree = try LinkTree()
        for attachment in try attachments(setup, ingress: ingress, directory: directory) {
            try refuseLargeMTU(of: attachment, in: tree)
        }
        try XDPDataPlane.tryLoading(checks: demand.carriesChecks)
    }

    /// Returns the VIPs, the first service's VIP first. The interface of that VIP counts for all VIPs whose subnet no
    /// interface has.
    private static func inOrder(_ demand: DataPlaneDemand) -> [IPAddress] {
        let first = demand.services.first?.address.vip
        return [first].compactMap(\.self) + demand.vips.filter { $0 != first }.sorted()
    }

    private static func tables(
        _ demand: DataPlaneDemand, directory: String, ingress: [Ingress], attachments: Int
    ) throws -> XDPDataPlane {
        let isBridged = ingress.contains(where: \.isBridged)
        return try XDPDataPlane(
            directory: directory,
            capacity: Capacity(connections: demand.connections, services: demand.services), services: demand.services,
            answersByRedirect: ingress.hasVeth,
            traits: PacketTraits(
                hasSeveralIngress: attachments > 1 || isBridged, outerSources: demand.outerSources?.v4))
    }

    /// Returns the present device or a new one, and sets it in the packet program.
    private static func checkDevice(
        below directory: String, journal: ChangeJournal, checks: Bool, for tables: XDPDataPlane
    ) throws -> CheckDevice {
        let device = try CheckDevice(
            directory: directory, journal: journal, checks: checks, servers: Capacity(of: tables.maps).servers)
        if let mac = device.link.address { try tables.setFragmenting(interface: device.peer.index, peer: mac) }
        return device
    }

    func useCheckDevice(below directory: String, checks: Bool) throws {
        checkDevice = try Self.checkDevice(below: directory, journal: journal, checks: checks, for: tables)
        // The programs on these interfaces move answers to the former device.
        listening = []
    }
}

extension DataPlaneDemand {
    /// Throws for IPv6 addresses, which the packet program does not forward.
    fileprivate func requireIPv4() throws(WrongFamily) {
        for service in services {
            for listener in service.listeners { _ = try listener.vip.asIPv4() }
            for server in service.servers { _ = try server.address.asIPv4() }
        }
        _ = try outerSources?.address.asIPv4()
    }
}

// MARK: Life

extension XDPHost: DataPlane {
    public func startForwarding() throws { try attach(tables, to: attachments) }

    public func completeStart() throws {
        dropUnwanted()
        watchElsewhere(try LinkTree(), try RouteSocket().addresses())
        try warnOfSubnetsElsewhere()
        isComplete = true
    }

    /// Prepares for another demand. Where tables are too small, or the program has to be made anew, this process does
    /// what a daemon does in a take-over.
    public func prepare(for demand: DataPlaneDemand) throws {
        try demand.requireIPv4()
        self.demand = demand
        guard let directory = setup.instance.existingBPFDirectory() else { return }
        let needsTables = try !tables.hasRoom(connections: demand.connections, services: demand.services)
        if needsTables || demand.outerSources != programOuterSources {
            let attachments = try Self.attachments(setup, ingress: ingress, directory: directory)
            let tables = try Self.tables(
                demand, directory: directory, ingress: ingress, attachments: attachments.count)
            try attach(tables, to: attachments)
            self.attachments = attachments
            self.tables = tables
            programOuterSources = demand.outerSources
        }
        // The programs of checks hold the tables' descriptors.
        if needsTables || demand.carriesChecks != checkDevice.takesChecks {
            try useCheckDevice(below: directory, checks: demand.carriesChecks)
        }
        if needsTables { elsewhere = try Elsewhere(directory: directory, journal: journal) }
    }

    public func completeChange() throws {
        if !checkDevice.takesChecks {
            do { try journal.undoPrograms(priority: CheckPrograms.priority) } catch {
                logger.error("remove the programs of checks: \(error)", metadata: ["error": "\(error)"])
            }
        }
        watchElsewhere(try LinkTree(), try RouteSocket().addresses())
        try warnOfSubnetsElsewhere()
    }

    public var refuge: Link? { checkDevice.peer }

    // MARK: The tables

    public func apply(_ services: [VirtualService]) throws { try tables.apply(services) }
    public func update(_ services: [VirtualService]) throws { try tables.update(services) }
    public func snapshot() throws -> DataPlaneSnapshot { try tables.snapshot() }

    public func setLimits(_ limits: DataPlaneLimits) {
        tables.setTimeouts(limits.timeouts)
        tables.setHalfOpenLimit(limits.halfOpen ?? tables.defaultHalfOpenLimit)
        tables.setSilentAfter(limits.silentAfter)
    }

    public var serverAddresses: Set<IPAddress> { Set(tables.serverAddresses.map(IPAddress.v4)) }

    public func load(of member: ServiceMember) -> (active: UInt32, inactive: UInt32)? {
        member.server.v4.flatMap { tables.load(of: $0, service: member.service) }
    }

    private func id(of member: ServiceMember) -> UInt32? {
        member.server.v4.flatMap { tables.serverID(service: member.service, server: $0) }
    }

    public func unansweredSYNs(atLeast least: UInt32) -> [ServiceMember: UInt32] {
        var found: [ServiceMember: UInt32] = [:]
        for (id, unanswered) in tables.unansweredSYNs(atLeast: least) {
            guard let (service, server) = tables.server(id: id) else { continue }
            found[ServiceMember(service: service, server: .v4(server))] = unanswered
        }
        return found
    }

    public func unansweredSYNs(of member: ServiceMember) -> UInt32 {
        id(of: member).map { tables.unansweredSYNs(server: $0) } ?? 0
    }

    public func learntPorts() throws -> [ServiceAddress: [UInt16]] { try tables.learntPorts() }

    public func forgetLearntPorts(_ ports: Set<UInt16>, of service: ServiceAddress) throws {
        try tables.forgetLearntPorts(ports, of: service)
    }

    public func answeredPorts(of service: ServiceAddress) throws -> [IPAddress: Set<UInt16>] {
        let ports = try tables.answeredPorts(of: service)
        return Dictionary(uniqueKeysWithValues: ports.map { (.v4($0), $1) })
    }

    public func setAnsweredPorts(_ ports: Set<UInt16>, of member: ServiceMember) throws {
        if let id = id(of: member) { try tables.setAnsweredPorts(ports, of: id) }
    }

    public func mayHaveSent(_ flow: FlowEnds, to server: IPAddress) throws -> Bool {
        let packet = ExplainedPacket(
            client: try flow.client.asIPv4(), clientPort: flow.clientPort, vip: try flow.vip.asIPv4(), port: flow.port,
            transport: flow.transport)
        let server = try server.asIPv4()
        return try Self.explaining(below: directory) { try tables.mayHaveSent(packet, to: server) }
    }

    public func strayPackets() throws -> [StrayPlace: StrayPackets] { try tables.strayPackets() }

    public func checkSocket(for member: ServiceMember) -> CheckSocket? {
        guard checkDevice.takesChecks, let id = id(of: member) else { return nil }
        return CheckSocket(mark: XDPDataPlane.checkMark(server: id), device: checkDevice.link.index)
    }

    public func checkTraffic(
        of member: ServiceMember, by transport: CheckTransport, begins: Bool
    ) -> CheckTraffic? {
        id(of: member).flatMap { checkDevice.traffic(server: $0, by: transport, begins: begins) }
    }

    public func sweep(for time: Duration) throws { try tables.sweep(for: time) }
    public func isSwept(since start: ContinuousClock.Instant) -> Bool { tables.isSwept(since: start) }

    public func mayHoldAbandoned(_ member: ServiceMember, until end: ContinuousClock.Instant) -> Bool {
        id(of: member).map { tables.mayHoldAbandoned(server: $0, until: end) } ?? false
    }

    public var tableUse: [(name: String, size: Int, used: Int)] { tables.tableUse }
}
