public import BPF
internal import Glibc
public import LoadBalancing
internal import PacketPrograms

/// The packet program and its tables. Tables are built aside and swapped in single words, so that every packet sees
/// the old state or the new one. Owned by one actor.
public final class XDPDataPlane {
    public static let maximumServices = Int(IPVSD_SERVICES) - 1
    public static let maximumServers = Int(IPVSD_SERVERS) - 1
    public static let maximumServersOfAService = Int(IPVSD_LIST_LIMIT)
    public static let maximumCheckAddresses = Int(IPVSD_CHECK_ADDRESSES)

    /// Has the kernel verify the program, and lets it go.
    public static func tryLoading() throws(BPFError) { try BPFObject(.director).load() }

    /// The low bits of a check socket's mark are the real server's id.
    public static func checkMark(server: UInt32) -> UInt32 { UInt32(IPVSD_CHECK_MARK) | server }

    public let maps: DirectorMaps
    let directory: String
    let object: BPFObject
    var services: [ServiceAddress: Int] = [:]
    var serviceRows: RowAllocator
    var serverIDs: [ServerKey: Int] = [:]
    var serverRows: RowAllocator
    var pathRows: RowAllocator
    var slices: SliceAllocator
    var paths: [IPv4Address: Path] = [:]
    /// The path row of each real server's address.
    var pathIDs: [IPv4Address: Int] = [:]

    var sweeps = 0
    /// The number of sweeps at which a removed real server was first seen without connections.
    var idleSince: [Int: Int] = [:]

    struct ServerKey: Hashable {
        var service: Int
        var address: IPv4Address
    }

    /// Loads the program beside what is pinned below `directory`, whose tables it takes over, or anew. Nothing is
    /// attached yet.
    public init(
        directory: String, answersByRedirect: Bool, repliesPerSecond: UInt32 = 1000, traits: PacketTraits = .init()
    ) throws(BPFError) {
        // Refuses another layout before libbpf does with less to say.
        _ = try DirectorMaps(directory: directory, writable: false)
        object = try BPFObject(.director)
        try object.setReadOnlyData(
            ipvsd_director_constants(
                answer_by_redirect: answersByRedirect ? 1 : 0, reply_limit: repliesPerSecond, jiffy: Self.jiffy,
                several_ingress: traits.hasSeveralIngress ? 1 : 0, bridged: traits.isBridged ? 1 : 0,
                outer_prefix: traits.outerSources?.address.bigEndian ?? 0,
                outer_mask: (traits.outerSources?.hostMask ?? 0).bigEndian))
        try object.pinDirectorMaps(below: directory)
        try object.load()
        guard let maps = try DirectorMaps(directory: directory, writable: true) else {
            throw BPFError("open the maps below \(directory)", code: ENOENT)
        }
        self.maps = maps
        self.directory = directory

        let snapshot = try DataPlaneSnapshot(of: maps)
        var usedSlices: [SliceAllocator.Slice] = []
        for service in snapshot.services {
            services[service.address] = Int(service.index)
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
            serverIDs[ServerKey(service: Int(row.service), address: address)] = id
            if row.path != 0 {
                usedPaths.insert(Int(row.path))
                pathIDs[address] = Int(row.path)
                paths[address] = Path(row: maps.paths[Int(row.path)])
            }
        }
        let usedServices = Set(services.values).union(serverIDs.keys.map(\.service))
        serviceRows = RowAllocator(count: maps.schedules.count, used: usedServices)
        serverRows = RowAllocator(count: maps.servers.count, used: usedServers)
        pathRows = RowAllocator(count: maps.paths.count, used: usedPaths)
        slices = SliceAllocator(capacity: maps.slots.count * 4, used: usedSlices)

        if maps.settings.pointer(0).load(as: UInt32.self) == 0 { initializeSettings() }
        // Rows of a service that the last daemon was taking away when it was killed.
        let live = Set(services.values)
        for (key, id) in serverIDs where !live.contains(key.service) {
            writeWord(id, weight: 0, flags: IPVSD_SERVER_USED | IPVSD_SERVER_REMOVED)
        }
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
        DirectorMaps.names.map { "\(directory)/\($0)" } + ["\(directory)/director", tickPin(directory: directory)]
    }

    /// The program that tells the tick, for whoever reads the flow table.
    static func tickPin(directory: String) -> String { "\(directory)/tick" }

    private func linkPath(_ interface: Int32) -> String { Self.linkPin(directory: directory, interface: interface) }

    /// Puts the program on the interface: in place of the last daemon's without losing a packet, where that one is
    /// attached in the same mode.
    public func attach(interface: Int32, mode: XDPMode) throws(BPFError) {
        let program = try object.program(named: "director")
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
        try replacePin("\(directory)/director", by: program)
        try replacePin(Self.tickPin(directory: directory), by: object.program(named: "tick"))
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

    // MARK: Housekeeping

    /// The tick that flows are stamped with now.
    public func tick() throws(BPFError) -> UInt16 {
        let run = try object.program(named: "tick").testRun(packet: [UInt8](repeating: 0, count: 64))
        return UInt16(truncatingIfNeeded: run.verdict)
    }

    /// Frees expired flows, then the rows that this makes idle: one pass over the flow table, in many short runs.
    public func sweep() throws(BPFError) {
        let program = try object.program(named: "sweep")
        let packet = [UInt8](repeating: 0, count: 64)
        for _ in 0..<(maps.flows.count / Int(IPVSD_SWEEP_BUCKETS)) { _ = try program.testRun(packet: packet) }
        sweeps += 1
        releaseIdleRows()
    }

    /// Of every real server that a row is kept for, also removed ones whose connections go on.
    public var serverAddresses: Set<IPv4Address> { Set(serverIDs.keys.map(\.address)) }

    public func snapshot() throws(BPFError) -> DataPlaneSnapshot { try DataPlaneSnapshot(of: maps) }
}
