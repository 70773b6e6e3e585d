public import Addresses
public import BPF
public import DataPlane
internal import Glibc
public import LoadBalancing
internal import PacketPrograms

/// The packet program and its tables. A new table is built aside, and put into use by one store of a word. Every packet
/// sees either the old state or the new one. Only one actor may use an instance.
public final class XDPDataPlane {
    public static let maximumServices = 4096
    public static let maximumServersOfAService = TableLimits.comparedServers
    public static let maximumCheckAddresses = Int(IPVSD_CHECK_ADDRESSES)

    /// Has the kernel verify the packet program, and frees it again. With `checks`, also the programs of checks.
    public static func tryLoading(checks: Bool) throws(BPFError) {
        try BPFObject(.director).load()
        if checks { try BPFObject(.check).load() }
    }

    /// Returns the mark of a check socket. Its low bits are the real server's id.
    public static func checkMark(server: UInt32) -> UInt32 { UInt32(IPVSD_CHECK_MARK) | server }

    public let maps: DirectorMaps
    /// The directory of all pins, as a path of this process.
    public let directory: String
    let constants: ipvsd_director_constants
    var object: BPFObject
    /// The explaining program over the maps of `object`, or the error by which the kernel refused it.
    var explainingObject: Result<BPFObject, BPFError>
    /// The tables that grew since the last daemon. `publish()` puts them into use.
    var growth: Growth?
    /// The attachments of this program by interface. A held link keeps the program attached when its pin is removed.
    var links: [Int32: BPFLink] = [:]
    /// The row of each listener's service.
    var services: [ServiceAddress: Int]
    /// The first listener of each service, by the service's row.
    var primaryAddresses: [Int: ServiceAddress]
    var serviceRows: RowAllocator
    var serverIDs: ServerIDs
    var serverRows: RowAllocator
    var pathTable: PathTable
    var schedulerTables: SchedulerTables

    /// The numbers of VIPs and protocols; nil except during a change of services, which reads the maps only once.
    var destinations: Destinations?

    var sweepPass: SweepPass
    /// The time since when, as far as this process knows, a real server's row says that the server is down. The key is
    /// the row.
    var downSince: [Int: ContinuousClock.Instant] = [:]
    /// The number of complete sweeps when a removed real server was first seen without connections. The key is its row.
    var idleSince: [Int: Int] = [:]

    /// Loads the program over the maps below `directory`, or over new maps. A data plane of an older layout is migrated
    /// first, on its interfaces. Tables that are too small for the capacity, or for `desired` beside what they hold,
    /// are replaced by larger ones. Nothing is attached yet, except by a migration. `answersByRedirect`: an ingress
    /// interface is a veth.
    public init(
        directory: String, capacity: Capacity = Capacity(), services desired: [VirtualService] = [],
        answersByRedirect: Bool, repliesPerSecond: UInt32 = 1000, traits: PacketTraits = PacketTraits()
    ) throws(BPFError) {
        self.directory = directory
        constants = Self.constants(
            answersByRedirect: answersByRedirect, repliesPerSecond: repliesPerSecond, traits: traits)
        try TableGrowth.recover(below: directory)
        try LayoutMigration.recover(below: directory)
        // This also refuses an unknown layout, with a better message than libbpf's.
        try LayoutMigration(below: directory, constants: constants)?.run()
        let old = try DirectorMaps(directory: directory, writable: true)
        if let old { try Self.finishMove(of: old, below: directory) }
        var capacity = capacity
        if let old {
            capacity = capacity.joined(with: Capacity(of: old))
            let held = HeldRows(try AdoptedRows(of: old), slotGroups: old.slots.count)
            try capacity.makeRoom(for: held.demand(of: desired))
        }
        // A failed `init` does not run `deinit`.
        var isMade = false
        defer {
            if !isMade {
                old?.isMigrating = false
                // No larger table is in use yet. `TableGrowth.recover` would need descriptors, which may be exhausted.
                for map in MapCatalogue.all { unlink(map.nextPin(below: directory)) }
            }
        }
        let loaded = try Self.load(below: directory, sizes: capacity.sizes, constants: constants)
        object = loaded.object
        explainingObject = loaded.explainingObject
        guard let maps = try DirectorMaps(directory: directory, places: .grown(loaded.grown), writable: true) else {
            throw BPFError("open the maps below \(directory)", code: ENOENT)
        }
        self.maps = maps
        if let old, !loaded.grown.isEmpty {
            growth = try Growth(of: loaded.grown, from: old, to: maps, now: Self.tick(below: directory))
        }
        let rows = try AdoptedRows(of: maps)
        services = rows.services
        primaryAddresses = rows.primaryAddresses
        serverIDs = rows.serverIDs
        serviceRows = RowAllocator(count: maps.services.count, used: rows.usedServices)
        serverRows = RowAllocator(count: maps.servers.count, used: rows.usedServers)
        pathTable = PathTable(of: maps, adopting: rows)
        schedulerTables = SchedulerTables(of: maps, used: rows.usedSlices)
        sweepPass = SweepPass(of: maps)

        if maps.settings.field(\.abi_version).pointee == 0 { initializeSettings() }
        // The last daemon may have been killed while it removed a service.
        let live = Set(services.values)
        for (service, _, id) in serverIDs.all where !live.contains(service) {
            writeWord(id, weight: 0, flags: IPVSD_SERVER_USED | IPVSD_SERVER_REMOVED)
        }
        isMade = true
    }

    deinit {
        guard growth != nil else { return }
        if links.isEmpty { maps.isMigrating = false }
        // Tables that an attached program uses already are published.
        try? TableGrowth.recover(below: directory)
    }

    /// Returns the packet program, for test runs.
    public func program() throws(BPFError) -> BPFProgram { try object.program(named: "director") }

    // MARK: Time

    /// Returns the tick with which flows are stamped now.
    public func tick() throws(BPFError) -> UInt32 {
        try Self.tick(by: object.program(named: "tick"))
    }

    /// Returns the present tick by the pinned program, without a daemon; nil where no program is pinned.
    public static func tick(below directory: String) throws(BPFError) -> UInt32? {
        guard let program = try BPFProgram(pinnedAt: tickPin(directory: directory)) else { return nil }
        return try tick(by: program)
    }

    /// Runs the program `tick`, and returns the tick. An older daemon's program is an XDP program, whose verdict is the
    /// tick.
    static func tick(by program: BPFProgram) throws(BPFError) -> UInt32 {
        guard try program.hasOwnContext() else {
            return try program.testRun(packet: [UInt8](repeating: 0, count: 64)).verdict
        }
        var run = ipvsd_tick_run()
        try program.run(on: &run)
        return run.tick
    }

    // MARK: State

    public func snapshot() throws(BPFError) -> DataPlaneSnapshot { try DataPlaneSnapshot(of: maps, now: tick()) }

    /// The addresses of all real servers that have a row. A removed real server keeps it while its connections go on.
    public var serverAddresses: Set<IPv4Address> { serverIDs.addresses }

    /// Returns the id of a real server, by which its checks are marked; nil where the service has no such server.
    public func serverID(service: ServiceAddress, server: IPv4Address) -> UInt32? {
        services[service].flatMap { serverIDs[$0, server] }.map(UInt32.init)
    }

    /// Returns the service and the address of a real server; nil where no real server has the id, or its service was
    /// removed.
    public func server(id: UInt32) -> (service: ServiceAddress, server: IPv4Address)? {
        let row = maps.servers[Int(id)]
        let address = IPv4Address(bigEndian: row.address)
        guard serverIDs[Int(row.service), address] == Int(id), let service = primaryAddresses[Int(row.service)] else {
            return nil
        }
        return (service, address)
    }

    /// Returns the numbers of connections of a real server; nil where the service has no such server.
    public func load(of server: IPv4Address, service: ServiceAddress) -> (active: UInt32, inactive: UInt32)? {
        serverID(service: service, server: server).map { id in
            let load = maps.connectionCounts[Int(id)]
            return (load.active, load.inactive)
        }
    }

    /// Returns the number of SYNs that went to the real server since a handshake with it last completed.
    public func unansweredSYNs(server id: UInt32) -> UInt32 { maps.connectionCounts[Int(id)].unanswered }

    /// Returns the numbers of unanswered SYNs that are at least `least`, by the real server's id.
    public func unansweredSYNs(atLeast least: UInt32) -> [UInt32: UInt32] {
        var found: [UInt32: UInt32] = [:]
        for id in 1..<maps.connectionCounts.count {
            let unanswered = maps.connectionCounts[id].unanswered
            if unanswered >= least { found[UInt32(id)] = unanswered }
        }
        return found
    }

    /// The numbers of usable (`size`) and of used rows of each table. Slots that were freed a moment ago count as used.
    public var tableUse: [(name: String, size: Int, used: Int)] {
        [
            ("services", maps.services.count - 1, serviceRows.usedCount),
            ("servers", maps.servers.count - 1, serverRows.usedCount),
            ("paths", pathTable.size - 1, pathTable.usedCount),
            ("slots", Int(IPVSD_SLOT_GROUP) * (maps.slots.count - 1), schedulerTables.slices.usedCount),
        ] + (maps.templateUse.map { [("templates", Int($0.limit), Int($0.used))] } ?? [])
    }

    // MARK: Ports of any-port services

    /// Returns the ports of any-port services on which clients' handshakes completed, the most recent first.
    public func learntPorts() throws(BPFError) -> [ServiceAddress: [UInt16]] {
        var ports: [ServiceAddress: [(port: UInt16, time: UInt64)]] = [:]
        for key in try maps.learntPorts.keys() {
            guard let address = primaryAddresses[Int(key.id)], let time = try maps.learntPorts.value(for: key) else {
                continue
            }
            ports[address, default: []].append((UInt16(bigEndian: key.port), time))
        }
        return ports.mapValues { $0.sorted { $0.time > $1.time }.map(\.port) }
    }

    /// Removes learnt ports, until another handshake of a client completes there.
    public func forgetLearntPorts(_ ports: Set<UInt16>, of service: ServiceAddress) throws(BPFError) {
        guard let index = services[service] else { return }
        for port in ports {
            try maps.learntPorts.remove(ipvsd_port(id: UInt32(index), port: port.bigEndian, reserved: 0))
        }
    }

    /// Returns the ports that have answered checks on a service's real servers, by address. The next daemon finds them,
    /// too.
    public func answeredPorts(of service: ServiceAddress) throws(BPFError) -> [IPv4Address: Set<UInt16>] {
        var ports: [IPv4Address: Set<UInt16>] = [:]
        for key in try maps.answeredPorts.keys() where Int(key.id) < maps.servers.count {
            let row = maps.servers[Int(key.id)]
            guard let index = services[service], Int(row.service) == index, row.has(IPVSD_SERVER_USED)
            else { continue }
            ports[IPv4Address(bigEndian: row.address), default: []].insert(UInt16(bigEndian: key.port))
        }
        return ports
    }

    public func setAnsweredPorts(_ ports: Set<UInt16>, of server: UInt32) throws(BPFError) {
        for key in try maps.answeredPorts.keys() where key.id == server && !ports.contains(UInt16(bigEndian: key.port))
        {
            try maps.answeredPorts.remove(key)
        }
        for port in ports {
            try maps.answeredPorts.update(1, for: ipvsd_port(id: server, port: port.bigEndian, reserved: 0))
        }
    }
}
