public import Addresses
public import BPF
public import DataPlane
internal import Glibc
public import LoadBalancing
internal import PacketPrograms

/// The packet program and its tables. Tables are built aside and swapped in single words, so that every packet sees
/// the old state or the new one. Owned by one actor.
public final class XDPDataPlane {
    public static let maximumServices = 4096
    public static let maximumServersOfAService = TableLimits.comparedServers
    public static let maximumCheckAddresses = Int(IPVSD_CHECK_ADDRESSES)

    /// Has the kernel verify the packet program, and with `checks` those that carry checks, and lets them go.
    public static func tryLoading(checks: Bool) throws(BPFError) {
        try BPFObject(.director).load()
        if checks { try BPFObject(.check).load() }
    }

    /// The low bits of a check socket's mark are the real server's id.
    public static func checkMark(server: UInt32) -> UInt32 { UInt32(IPVSD_CHECK_MARK) | server }

    public let maps: DirectorMaps
    /// Where all is pinned, as a path of this process.
    public let directory: String
    let constants: ipvsd_director_constants
    var object: BPFObject
    /// Of the program that explains what the one of `object` does, or why the kernel refused it.
    var explainingObject: Result<BPFObject, BPFError>
    /// What grew since the last daemon, and is not in use before `publish()`.
    var growth: Growth?
    /// Of the interfaces to which this program was attached, held: an attachment ends with its last reference, and somebody
    /// may remove the pin.
    var links: [Int32: BPFLink] = [:]
    /// The row of each listener's service.
    var services: [ServiceAddress: Int]
    /// By row: the address that a service is called by.
    var primaryAddresses: [Int: ServiceAddress]
    var serviceRows: RowAllocator
    var serverIDs: ServerIDs
    var serverRows: RowAllocator
    var pathRows: RowAllocator
    var slices: SliceAllocator
    /// What each service's Maglev table was last made of.
    var maglevSources: [Int: MaglevSource] = [:]
    var paths: [IPv4Address: Path]
    /// The path row of each real server's address.
    var pathIDs: [IPv4Address: Int]
    /// Of real servers to which there is no way now: where their outer packets' numbers were.
    var outerIDsOfLostPaths: [IPv4Address: UInt32] = [:]

    /// While services change, so that the tables are read but once.
    var destinations: Destinations?

    var sweepPass = SweepPass()
    var sweeps = 0
    /// Of rows that say that their real server is down: since when, as far as this process knows.
    var downSince: [Int: ContinuousClock.Instant] = [:]
    /// The number of sweeps at which a removed real server was first seen without connections.
    var idleSince: [Int: Int] = [:]

    /// Loads the program beside what is pinned below `directory`, whose tables it takes over, or anew. A data plane of an older
    /// layout is carried over to this one first, on the interfaces where it is. Tables that are
    /// too small for the capacity, or for these services beside what they hold, are replaced by larger ones. Nothing is
    /// attached yet, unless an older layout was migrated. `answersByRedirect`: an ingress interface is a veth.
    public init(
        directory: String, capacity: Capacity = Capacity(), services desired: [VirtualService] = [],
        answersByRedirect: Bool, repliesPerSecond: UInt32 = 1000, traits: PacketTraits = PacketTraits()
    ) throws(BPFError) {
        self.directory = directory
        constants = Self.constants(
            answersByRedirect: answersByRedirect, repliesPerSecond: repliesPerSecond, traits: traits)
        try TableGrowth.settle(below: directory)
        try LayoutMigration.settle(below: directory)
        // Refuses an unknown layout before libbpf does with less to say.
        try LayoutMigration(below: directory, constants: constants)?.run()
        let old = try DirectorMaps(directory: directory, writable: true)
        if let old { try Self.finishMove(of: old, below: directory) }
        var capacity = capacity
        if let old {
            capacity = capacity.joined(with: Capacity(of: old))
            let held = HeldRows(try AdoptedRows(of: old), slotGroups: old.slots.count)
            try capacity.makeRoom(for: held.demand(of: desired))
        }
        // Without `deinit`, which a failed start does not run.
        var isMade = false
        defer {
            if !isMade {
                old?.isMigrating = false
                // None is in use yet. To settle would take descriptors, which may be what is missing.
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
        paths = rows.paths
        pathIDs = rows.pathIDs
        serviceRows = RowAllocator(count: maps.services.count, used: rows.usedServices)
        serverRows = RowAllocator(count: maps.servers.count, used: rows.usedServers)
        pathRows = RowAllocator(count: maps.nextHops.count, used: rows.usedPaths)
        slices = SliceAllocator(groups: maps.slots.count, used: rows.usedSlices)

        if maps.settings.field(\.abi_version).pointee == 0 { initializeSettings() }
        beginMissingOuterIDs()
        // Rows of a service that the last daemon was taking away when it was killed.
        let live = Set(services.values)
        for (service, _, id) in serverIDs.all where !live.contains(service) {
            writeWord(id, weight: 0, flags: IPVSD_SERVER_USED | IPVSD_SERVER_REMOVED)
        }
        isMade = true
    }

    deinit {
        guard growth != nil else { return }
        if links.isEmpty { maps.isMigrating = false }
        // What a program uses already keeps its name.
        try? TableGrowth.settle(below: directory)
    }

    /// The packet program, for test runs.
    public func program() throws(BPFError) -> BPFProgram { try object.program(named: "director") }

    func sweepProgram() throws(BPFError) -> BPFProgram { try object.program(named: "sweep") }

    // MARK: Housekeeping

    /// The tick that flows are stamped with now.
    public func tick() throws(BPFError) -> UInt32 {
        try Self.tick(by: object.program(named: "tick"))
    }

    /// The same by the pinned program, without a daemon; nil where there is none.
    public static func tick(below directory: String) throws(BPFError) -> UInt32? {
        guard let program = try BPFProgram(pinnedAt: tickPin(directory: directory)) else { return nil }
        return try tick(by: program)
    }

    /// The tick by a program of this daemon or of an older one, whose program is a packet program: its verdict is the tick.
    private static func tick(by program: BPFProgram) throws(BPFError) -> UInt32 {
        guard try program.hasOwnContext() else {
            return try program.testRun(packet: [UInt8](repeating: 0, count: 64)).verdict
        }
        var run = ipvsd_tick_run()
        try program.run(on: &run)
        return run.tick
    }

    /// Of every real server that a row is kept for, also removed ones whose connections go on.
    public var serverAddresses: Set<IPv4Address> { serverIDs.addresses }

    public func snapshot() throws(BPFError) -> DataPlaneSnapshot { try DataPlaneSnapshot(of: maps, now: tick()) }
}
