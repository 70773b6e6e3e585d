public import BPF
internal import Glibc
public import LoadBalancing
internal import PacketPrograms

/// The packet program and its tables. Tables are built aside and swapped in single words, so that every packet sees
/// the old state or the new one. Owned by one actor.
public final class XDPDataPlane {
    public static let maximumServices = 4096
    public static let maximumServers = 65535
    public static let maximumServersOfAService = Int(IPVSD_LIST_LIMIT)
    public static let maximumCheckAddresses = Int(IPVSD_CHECK_ADDRESSES)

    /// Has the kernel verify the program, and lets it go.
    public static func tryLoading() throws(BPFError) { try BPFObject(.director).load() }

    /// The low bits of a check socket's mark are the real server's id.
    public static func checkMark(server: UInt32) -> UInt32 { UInt32(IPVSD_CHECK_MARK) | server }

    public let maps: DirectorMaps
    let directory: String
    private let constants: ipvsd_director_constants
    private var object: BPFObject
    /// What grew since the last daemon, and is not in use before `publish()`.
    private var growth: Growth?
    private var attached: Set<Int32> = []
    /// The row of each listener's service.
    var services: [ServiceAddress: Int] = [:]
    /// By row: the address that a service is called by.
    var primaryAddresses: [Int: ServiceAddress] = [:]
    var serviceRows: RowAllocator
    var serverIDs = ServerIDs()
    var serverRows: RowAllocator
    var pathRows: RowAllocator
    var slices: SliceAllocator
    /// What each service's Maglev table was last made of.
    var maglevSources: [Int: MaglevSource] = [:]
    var paths: [IPv4Address: Path] = [:]
    /// The path row of each real server's address.
    var pathIDs: [IPv4Address: Int] = [:]

    /// While services change: the ids by which listeners and flows go, so that the flow table is read but once.
    var takenFlowIDs: Set<UInt16>?

    var sweepPass = SweepPass()
    var sweeps = 0
    /// Of rows that say that their real server is down: since when, as far as this process knows.
    var downSince: [Int: ContinuousClock.Instant] = [:]
    /// The number of sweeps at which a removed real server was first seen without connections.
    var idleSince: [Int: Int] = [:]

    private struct Growth {
        var names: Set<String>
        var old: DirectorMaps
        var copiedLoads: [ipvsd_load]
        /// The tick before the copy.
        var copied: UInt32?
    }

    /// Loads the program beside what is pinned below `directory`, whose tables it takes over, or anew. Tables that are
    /// too small for the capacity are replaced by larger ones. Nothing is attached yet. `answersByRedirect`: an
    /// ingress interface is a veth.
    public init(
        directory: String, capacity: Capacity = Capacity(), answersByRedirect: Bool, repliesPerSecond: UInt32 = 1000,
        traits: PacketTraits = PacketTraits()
    ) throws(BPFError) {
        try TableGrowth.settle(below: directory)
        // Refuses another layout before libbpf does with less to say.
        _ = try DirectorMaps(directory: directory, writable: false)
        self.directory = directory
        constants = ipvsd_director_constants(
            bucket_mask: 0, former_mask: 0, listener_shift: 0, answer_by_redirect: answersByRedirect ? 1 : 0,
            reply_limit: repliesPerSecond, jiffy: Self.jiffy,
            several_ingress: traits.hasSeveralIngress ? 1 : 0,
            outer_prefix: traits.outerSources?.address.bigEndian ?? 0,
            outer_mask: (traits.outerSources?.hostMask ?? 0).bigEndian)
        let old = try DirectorMaps(directory: directory, writable: true)
        if let old {
            if old.isMoving, let former = old.former {
                let now = try Self.tick(below: directory).map { UInt16(truncatingIfNeeded: $0) }
                TableGrowth.moveFlows(from: former, to: old, now: now)
            }
            // Also what a daemon left that was killed after the last flow was moved.
            if old.isMoving || (old.former?.count ?? 0) > 1 { Self.forgetFormer(old, below: directory) }
        }
        var capacity = capacity
        if let old {
            let held = (1..<old.servers.count).count {
                old.servers[$0].flags & UInt16(IPVSD_SERVER_USED) != 0
            }
            capacity.makeRoom(besides: held)
        }
        let loaded = try Self.load(below: directory, sizes: capacity.sizes, constants: constants)
        object = loaded.object
        guard let maps = try DirectorMaps(directory: directory, grown: loaded.grown, writable: true) else {
            throw BPFError("open the maps below \(directory)", code: ENOENT)
        }
        self.maps = maps
        if let old, !loaded.grown.isEmpty {
            let loads = (0..<old.loads.count).map { old.loads[$0] }
            growth = Growth(
                names: loaded.grown, old: old, copiedLoads: loads, copied: try Self.tick(below: directory))
            try TableGrowth.copy(loaded.grown, from: old, to: maps)
            // Just these: what came since is added by `followCounts`.
            if loaded.grown.contains("loads") { for (id, load) in loads.enumerated() { maps.loads[id] = load } }
            if loaded.grown.contains("flows") { maps.isMoving = true }
        }
        let snapshot = try DataPlaneSnapshot(of: maps, now: 0)
        var usedSlices: [SliceAllocator.Slice] = []
        for service in snapshot.services {
            for listener in service.listeners { services[listener] = Int(service.index) }
            primaryAddresses[Int(service.index)] = service.address
            let row = maps.schedules[Int(service.index)]
            usedSlices += [Self.slice(of: row.schedule), Self.slice(of: row.maglev)]
        }
        var usedServers: Set<Int> = []
        var usedPaths: Set<Int> = []
        for id in 1..<maps.servers.count {
            let row = maps.servers[id]
            guard row.flags & UInt16(IPVSD_SERVER_USED) != 0 else { continue }
            let address = IPv4Address(bigEndian: row.address)
            usedServers.insert(id)
            serverIDs[Int(row.service), address] = id
            if row.path != 0 {
                usedPaths.insert(Int(row.path))
                pathIDs[address] = Int(row.path)
                paths[address] = Path(row: maps.paths[Int(row.path)])
            }
        }
        let usedServices = Set(services.values).union(serverIDs.services)
        serviceRows = RowAllocator(count: maps.schedules.count, used: usedServices)
        serverRows = RowAllocator(count: maps.servers.count, used: usedServers)
        pathRows = RowAllocator(count: maps.paths.count, used: usedPaths)
        slices = SliceAllocator(capacity: maps.slots.count * 4, used: usedSlices)

        if maps.settings.pointer(0).load(as: UInt32.self) == 0 { initializeSettings() }
        // Rows of a service that the last daemon was taking away when it was killed.
        let live = Set(services.values)
        for (service, _, id) in serverIDs.all where !live.contains(service) {
            writeWord(id, weight: 0, flags: IPVSD_SERVER_USED | IPVSD_SERVER_REMOVED)
        }
    }

    deinit {
        guard growth != nil else { return }
        if attached.isEmpty { maps.isMoving = false }
        // What a program uses already keeps its name.
        try? TableGrowth.settle(below: directory)
    }

    /// The object, loaded, and the names of the tables that it has anew and larger.
    private static func load(
        below directory: String, sizes: [String: Int], constants: ipvsd_director_constants
    ) throws(BPFError) -> (object: BPFObject, grown: Set<String>) {
        let object = try BPFObject(.director)
        var grown: Set<String> = []
        var former: BPFDescriptor?
        // Never smaller than they are.
        var chosen = sizes
        for (name, wanted) in sizes {
            let pinned = try BPFDescriptor(pinnedAt: "\(directory)/\(name)")
            let present = try pinned?.maxEntries() ?? 0
            chosen[name] = max(wanted, present)
            try object.setMaxEntries(max(wanted, present), ofMap: name)
            if let pinned, present < wanted {
                grown.insert(name)
                if name == "flows" { former = pinned }
            }
        }
        for name in DirectorMaps.names where !(name == "former" && grown.contains("flows")) {
            let path = grown.contains(name) ? DirectorMaps.nextPin(name, below: directory) : "\(directory)/\(name)"
            // libbpf takes a pinned devmap for another one: the kernel adds BPF_F_RDONLY_PROG to its flags.
            if name == "egress", let pinned = try BPFDescriptor(pinnedAt: path) {
                try object.reuse(descriptor: pinned.number, forMap: name)
            } else {
                try object.setPinPath(path, ofMap: name)
            }
        }
        var constants = constants
        constants.bucket_mask = UInt32((chosen["flows"] ?? 1) - 1)
        constants.former_mask = UInt32((try former?.maxEntries() ?? 1) - 1)
        constants.listener_shift = UInt32(64 - (chosen["listeners"] ?? 1).trailingZeroBitCount)
        try object.setReadOnlyData(constants)
        // Last: libbpf takes over the name of what it reuses, too, and would find "flows" twice.
        if let former { try object.reuse(descriptor: former.number, forMap: "former") }
        try object.load()
        return (object, grown)
    }

    /// Nanoseconds between two ticks of the kernel's timer: what its coarse clocks count in.
    private static var jiffy: UInt32 {
        var resolution = timespec()
        clock_getres(CLOCK_MONOTONIC_COARSE, &resolution)
        return UInt32(resolution.tv_nsec)
    }

    // MARK: Attaching

    public static func linkPin(directory: String, interface: Int32) -> String { "\(directory)/link-\(interface)" }

    /// Every map and program that is pinned, in the order it is made.
    public static func pins(directory: String) -> [String] {
        DirectorMaps.names.map { "\(directory)/\($0)" }
            + Capacity().sizes.keys.sorted().map { DirectorMaps.nextPin($0, below: directory) }
            + ["\(directory)/director", tickPin(directory: directory)]
    }

    /// The program that tells the tick, for whoever reads the flow table.
    static func tickPin(directory: String) -> String { "\(directory)/tick" }

    private func linkPath(_ interface: Int32) -> String { Self.linkPin(directory: directory, interface: interface) }

    /// Puts the program on the interface: in place of the last daemon's without losing a packet, where that one is
    /// attached in the same mode.
    public func attach(interface: Int32, mode: XDPMode) throws(BPFError) {
        let program = try program()
        let link = try BPFLink(pinnedAt: linkPath(interface))
        if let link, try link.interface() == UInt32(interface),
            try XDPAttachment.of(interface: interface)?.mode == mode
        {
            try link.update(to: program)
        } else {
            try link?.detach()
            unlink(linkPath(interface))
            try program.attachXDP(interface: interface, mode: mode).pin(at: linkPath(interface))
        }
        attached.insert(interface)
    }

    /// Once the program is attached: names it to whoever looks for it, and finishes what it means for tables that
    /// have grown. That takes a moment; packets pass meanwhile.
    public func publish() throws(BPFError) {
        if let growth {
            for name in growth.names { try TableGrowth.publish(name, below: directory) }
            self.growth = nil
            // Until the last packet of the old program is through.
            usleep(UInt32(RowAllocator.grace / .microseconds(1)))
            try TableGrowth.followCounts(growth.names, from: growth.old, since: growth.copiedLoads, to: maps)
            try TableGrowth.followMarks(growth.names, from: growth.old, since: growth.copied, to: maps)
            if maps.isMoving {
                TableGrowth.moveFlows(from: growth.old.flows, to: maps, now: UInt16(truncatingIfNeeded: try tick()))
                Self.forgetFormer(maps, below: directory)
                // Without the former table, which only this program still holds.
                object = try Self.load(below: directory, sizes: Capacity.least.sizes, constants: constants).object
                for interface in attached { try BPFLink(pinnedAt: linkPath(interface))?.update(to: program()) }
            }
        }
        try replacePin("\(directory)/director", by: program())
        try replacePin(Self.tickPin(directory: directory), by: object.program(named: "tick"))
    }

    private static func forgetFormer(_ maps: DirectorMaps, below directory: String) {
        maps.isMoving = false
        unlink("\(directory)/former")
    }

    private func replacePin(_ path: String, by program: BPFProgram) throws(BPFError) {
        unlink(path)
        try program.pin(at: path)
    }

    public func isAttached(interface: Int32) throws(BPFError) -> Bool {
        try BPFLink(pinnedAt: linkPath(interface))?.interface() == UInt32(interface)
    }

    /// The packet program, for test runs.
    public func program() throws(BPFError) -> BPFProgram { try object.program(named: "director") }

    func sweepProgram() throws(BPFError) -> BPFProgram { try object.program(named: "sweep") }

    // MARK: Housekeeping

    /// The tick that flows are stamped with now.
    public func tick() throws(BPFError) -> UInt32 {
        try object.program(named: "tick").testRun(packet: [UInt8](repeating: 0, count: 64)).verdict
    }

    /// The same by the pinned program, without a daemon; nil where there is none.
    public static func tick(below directory: String) throws(BPFError) -> UInt32? {
        try BPFProgram(pinnedAt: tickPin(directory: directory))?
            .testRun(packet: [UInt8](repeating: 0, count: 64)).verdict
    }

    /// Of every real server that a row is kept for, also removed ones whose connections go on.
    public var serverAddresses: Set<IPv4Address> { serverIDs.addresses }

    public func snapshot() throws(BPFError) -> DataPlaneSnapshot { try DataPlaneSnapshot(of: maps, now: tick()) }
}
