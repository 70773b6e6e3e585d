public import BPF
internal import CLinux
internal import Glibc
public import LoadBalancing
public import Netlink
internal import PacketPrograms

/// A service as the packet program is to have it.
public struct DesiredService: Sendable, Hashable {
    public struct Server: Sendable, Hashable {
        public var address: IPv4Address
        public var configuredWeight: UInt16
        /// Of a real server that is out: it gets no new flows, and SYNs of its flows are scheduled anew.
        public var isDown: Bool

        public init(address: IPv4Address, configuredWeight: UInt16, isDown: Bool) {
            self.address = address
            self.configuredWeight = configuredWeight
            self.isDown = isDown
        }

        var weight: UInt16 { isDown ? 0 : configuredWeight }
    }

    public var address: ServiceAddress
    public var scheduler: Scheduler
    public var flags: Set<SchedulerFlag>
    public var servers: [Server]

    public init(
        address: ServiceAddress, scheduler: Scheduler, flags: Set<SchedulerFlag> = [], servers: [Server]
    ) {
        self.address = address
        self.scheduler = scheduler
        self.flags = flags
        self.servers = servers
    }
}

/// A way to a real server, as routes and neighbours say.
public struct Path: Sendable, Hashable {
    public var source: IPv4Address
    public var destination: IPv4Address
    public var interface: Int32
    public var sourceMAC: MACAddress
    /// Nil while the next hop has not answered.
    public var nextHopMAC: MACAddress?
    /// Of the outer packet.
    public var mtu: UInt32
    /// Leaves by XDP_TX on the interface it came in; otherwise by redirect.
    public var transmits: Bool

    public init(
        source: IPv4Address, destination: IPv4Address, interface: Int32, sourceMAC: MACAddress,
        nextHopMAC: MACAddress?, mtu: UInt32, transmits: Bool
    ) {
        self.source = source
        self.destination = destination
        self.interface = interface
        self.sourceMAC = sourceMAC
        self.nextHopMAC = nextHopMAC
        self.mtu = mtu
        self.transmits = transmits
    }
}

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
    private let directory: String
    private let object: BPFObject
    private var services: [ServiceAddress: Int] = [:]
    private var serviceRows: RowAllocator
    private var serverIDs: [ServerKey: Int] = [:]
    private var serverRows: RowAllocator
    private var pathRows: RowAllocator
    private var slices: SliceAllocator
    private var paths: [IPv4Address: Path] = [:]
    /// The path row of each real server's address.
    private var pathIDs: [IPv4Address: Int] = [:]

    private var sweeps = 0
    /// The number of sweeps at which a removed real server was first seen without connections.
    private var idleSince: [Int: Int] = [:]

    private struct ServerKey: Hashable {
        var service: Int
        var address: IPv4Address
    }

    /// Loads the program beside what is pinned below `directory`, whose tables it takes over, or anew. Nothing is
    /// attached yet. `answersByRedirect`: the ingress interface is a veth.
    public init(directory: String, answersByRedirect: Bool, repliesPerSecond: UInt32 = 1000) throws(BPFError) {
        // Refuses another layout before libbpf does with less to say.
        _ = try DirectorMaps(directory: directory, writable: false)
        object = try BPFObject(.director)
        try object.setReadOnlyData(
            ipvsd_director_constants(
                answer_by_redirect: answersByRedirect ? 1 : 0, reply_limit: repliesPerSecond, jiffy: Self.jiffy))
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

    // MARK: Services and real servers

    /// Makes the packet program's services these, and no others. Connections of a real server that is no longer
    /// named go on until they end.
    public func apply(_ desired: [DesiredService]) throws(BPFError) {
        for service in desired { try apply(service) }
        let wanted = Set(desired.map(\.address))
        for (address, index) in services where !wanted.contains(address) { try remove(address, index: index) }
        writeFilter(vips: Set(desired.map(\.address.vip)))
    }

    private func apply(_ service: DesiredService) throws(BPFError) {
        let existing = services[service.address]
        guard let index = existing ?? serviceRows.allocate() else {
            throw BPFError("add service \(service.address): all \(Self.maximumServices) are in use", code: ENOSPC)
        }
        if existing == nil { maps.schedules[index] = ipvsd_service() }
        services[service.address] = index

        // Rows before the slots that name them.
        var ids: [UInt16] = []
        for server in service.servers { ids.append(UInt16(try write(server, service: index))) }
        try swapSlices(service, index: index, ids: ids)
        let named = Set(service.servers.map(\.address))
        for (key, id) in serverIDs where key.service == index && !named.contains(key.address) {
            writeWord(id, weight: 0, flags: IPVSD_SERVER_USED | IPVSD_SERVER_REMOVED)
        }
        for (key, value) in service.address.keys(service: UInt32(index)) { try listen(value, for: key) }
        try listen(ipvsd_service_value(), for: vipKey(service.address.vip))
    }

    /// In this order, and `stopListening` in the other: what is in `services` is what a daemon that adopts the maps
    /// knows of, and takes away or writes again.
    private func listen(_ value: ipvsd_service_value, for key: ipvsd_service_key) throws(BPFError) {
        try maps.services.update(value, for: key)
        maps.listeners.set(value, for: key)
    }

    private func stopListening(_ key: ipvsd_service_key) throws(BPFError) {
        maps.listeners.remove(key)
        try maps.services.remove(key)
    }

    private func write(_ server: DesiredService.Server, service: Int) throws(BPFError) -> Int {
        let key = ServerKey(service: service, address: server.address)
        let flags = IPVSD_SERVER_USED | (server.isDown ? IPVSD_SERVER_DOWN : 0)
        if let id = serverIDs[key] {
            idleSince[id] = nil
            maps.servers.pointer(id).storeBytes(
                of: server.configuredWeight, toByteOffset: configuredWeightOffset, as: UInt16.self)
            writeWord(id, weight: server.weight, flags: flags)
            return id
        }
        guard let id = serverRows.allocate() else {
            throw BPFError("add real server \(server.address): all \(Self.maximumServers) are in use", code: ENOSPC)
        }
        try maps.statistics.clear(UInt32(id))
        maps.loads[id] = ipvsd_load()
        maps.servers[id] = ipvsd_server(
            path: UInt32(pathIDs[server.address] ?? 0), weight: server.weight, flags: UInt16(flags),
            address: server.address.bigEndian, service: UInt16(service), configured_weight: server.configuredWeight)
        serverIDs[key] = id
        return id
    }

    /// Stores path, weight and flags at once. `path` nil: as it is.
    private func writeWord(_ id: Int, path: UInt32? = nil, weight: UInt16, flags: UInt32) {
        let path = path ?? maps.servers[id].path
        clinux_store_u64(maps.servers.pointer(id), UInt64(path) | UInt64(weight) << 32 | UInt64(flags) << 48)
    }

    /// What the packet program is to look servers up in, as indices into the list, and how. Nil refuses.
    private func schedule(
        _ service: DesiredService
    ) -> (entries: [Int?], kind: ipvsd_scheduler, byPort: Bool) {
        let weights = service.servers.map { Int($0.weight) }
        let list: [Int?] = weights.indices.map { $0 }
        let isEmpty = weights.allSatisfy { $0 == 0 }
        switch service.scheduler {
        case .mh: return ([], IPVSD_SCHEDULER_MH, service.flags.contains(.mhPort))
        case _ where isEmpty: return ([], IPVSD_SCHEDULER_RING, false)
        case .rr: return (WeightedRoundRobin.evenRing(weights: weights), IPVSD_SCHEDULER_RING, false)
        case .wrr: return (WeightedRoundRobin.ring(weights: weights), IPVSD_SCHEDULER_RING, false)
        case .twos: return (WeightedRoundRobin.ring(weights: weights), IPVSD_SCHEDULER_TWOS, false)
        case .lc: return (list, IPVSD_SCHEDULER_LC, false)
        case .wlc: return (list, IPVSD_SCHEDULER_WLC, false)
        case .sed: return (list, IPVSD_SCHEDULER_SED, false)
        case .nq: return (list, IPVSD_SCHEDULER_NQ, false)
        case .ovf: return (list, IPVSD_SCHEDULER_OVF, false)
        case .fo: return ([LeastConnections.failover(weights: weights)], IPVSD_SCHEDULER_RING, false)
        case .dh:
            return hashed(service, IPVSD_SCHEDULER_RING) {
                [SourceHash.server(ofVIP: service.address.vip, weights: $0)]
            }
        case .sh:
            return hashed(service, IPVSD_SCHEDULER_SH) {
                SourceHash.table(weights: $0, fallback: service.flags.contains(.shFallback))
            }
        }
    }

    /// IPVS's hash schedulers refuse the clients of a server with weight 0, but know nothing of one that is out: that
    /// one is not in the list.
    private func hashed(
        _ service: DesiredService, _ kind: ipvsd_scheduler, _ table: ([Int]) -> [Int?]
    ) -> (entries: [Int?], kind: ipvsd_scheduler, byPort: Bool) {
        let present = service.servers.indices.filter { !service.servers[$0].isDown }
        let entries = table(present.map { Int(service.servers[$0].weight) })
        return (entries.map { $0.map { present[$0] } }, kind, service.flags.contains(.shPort))
    }

    private func swapSlices(_ service: DesiredService, index: Int, ids: [UInt16]) throws(BPFError) {
        let weights = service.servers.map { Int($0.weight) }
        let even = weights.map { $0 > 0 ? 1 : 0 }
        let (entries, kind, byPort) = schedule(service)
        let schedule = entries.map { $0.map { ids[$0] } ?? 0 }
        let scheduler = UInt64(kind.rawValue) | (byPort ? UInt64(IPVSD_SCHEDULER_BY_PORT) : 0)
        let ignoresWeight = service.scheduler == .rr || service.scheduler == .lc
        let members = zip(service.servers, ignoresWeight ? even : weights).map {
            (key: UInt64($0.address.value), weight: $1)
        }
        let size = MaglevTable.size(forServers: members.count, minimum: 4093)
        let maglev = MaglevTable.build(members: members, size: size).map { ids[Int($0)] }

        let row = maps.schedules[index]
        let name = maps.schedules.pointer(index) + scheduleNameOffset
        clinux_store_u64(name, service.scheduler.packedName)
        let scheduleWord = try place(schedule, scheduler: scheduler, over: row.schedule)
        let maglevWord: UInt64
        do { maglevWord = try place(maglev, scheduler: 0, over: row.maglev) } catch {
            if scheduleWord != row.schedule { slices.release(Self.slice(of: scheduleWord)) }
            throw error
        }
        clinux_store_u64(maps.schedules.pointer(index), scheduleWord)
        clinux_store_u64(maps.schedules.pointer(index) + 8, maglevWord)
        if scheduleWord != row.schedule { slices.release(Self.slice(of: row.schedule)) }
        if maglevWord != row.maglev { slices.release(Self.slice(of: row.maglev)) }
    }

    /// Writes the entries to a fresh slice, unless `current` holds just these; the word that names the slice.
    private func place(_ entries: [UInt16], scheduler: UInt64, over current: UInt64) throws(BPFError) -> UInt64 {
        func word(_ slice: SliceAllocator.Slice) -> UInt64 {
            scheduler << 56 | UInt64(slice.size) << 32 | UInt64(slice.first)
        }
        let old = Self.slice(of: current)
        if old.size == entries.count, word(old) == current,
            (0..<old.size).allSatisfy({ slot(old.first + $0) == entries[$0] })
        {
            return current
        }
        guard let slice = slices.allocate(size: entries.count) else {
            throw BPFError("find room for \(entries.count) slots", code: ENOSPC)
        }
        for (offset, entry) in entries.enumerated() {
            let index = slice.first + offset
            maps.slots.pointer(index / 4).storeBytes(of: entry, toByteOffset: index % 4 * 2, as: UInt16.self)
        }
        return word(slice)
    }

    private func slot(_ index: Int) -> UInt16 {
        maps.slots.pointer(index / 4).load(fromByteOffset: index % 4 * 2, as: UInt16.self)
    }

    private static func slice(of word: UInt64) -> SliceAllocator.Slice {
        SliceAllocator.Slice(first: Int(UInt32(truncatingIfNeeded: word)), size: Int(word >> 32 & 0xFFFFFF))
    }

    private func remove(_ address: ServiceAddress, index: Int) throws(BPFError) {
        for (key, _) in address.keys(service: UInt32(index)) { try stopListening(key) }
        services[address] = nil
        if !services.keys.contains(where: { $0.vip == address.vip }) { try stopListening(vipKey(address.vip)) }
        for key in try maps.learntPorts.keys() where Int(key.id) == index { try maps.learntPorts.remove(key) }
        let row = maps.schedules[index]
        clinux_store_u64(maps.schedules.pointer(index), 0)
        clinux_store_u64(maps.schedules.pointer(index) + 8, 0)
        slices.release(Self.slice(of: row.schedule))
        slices.release(Self.slice(of: row.maglev))
        for (key, id) in serverIDs where key.service == index {
            writeWord(id, weight: 0, flags: IPVSD_SERVER_USED | IPVSD_SERVER_REMOVED)
        }
    }

    /// Gives back the rows of removed real servers that no connection has held for two whole sweeps (a packet may be
    /// about to record one), and of services without any.
    private func releaseIdleRows() {
        for (key, id) in serverIDs where maps.servers[id].flags & UInt16(IPVSD_SERVER_REMOVED) != 0 {
            let load = maps.loads[id]
            guard load.active == 0, load.inactive == 0 else {
                idleSince[id] = nil
                continue
            }
            let since = idleSince[id] ?? sweeps
            idleSince[id] = since
            guard sweeps >= since + 2 else { continue }
            idleSince[id] = nil
            writeWord(id, path: 0, weight: 0, flags: 0)
            try? setAnsweredPorts([], of: UInt32(id))
            serverRows.release(id)
            serverIDs[key] = nil
        }
        let live = Set(services.values).union(serverIDs.keys.map(\.service))
        for index in 1..<maps.schedules.count where !live.contains(index) { serviceRows.release(index) }
        let addresses = serverAddresses
        for (address, row) in pathIDs where !addresses.contains(address) {
            pathRows.release(row)
            pathIDs[address] = nil
            paths[address] = nil
        }
    }

    private func writeFilter(vips: Set<IPv4Address>) {
        var words = [UInt64](repeating: 0, count: 1024)
        for vip in vips {
            let bit = Int((vip.bigEndian &* 0x9E37_79B1) >> 16)
            words[bit >> 6] |= 1 << UInt64(bit & 63)
        }
        let filter = maps.settings.pointer(0) + filterOffset
        for (index, word) in words.enumerated() { clinux_store_u64(filter + 8 * index, word) }
    }

    private func vipKey(_ vip: IPv4Address) -> ipvsd_service_key {
        ipvsd_service_key(vip: vip.bigEndian, port: 0, protocol: 0, reserved: 0)
    }

    /// The real server's id, by which its checks are marked.
    public func serverID(service: ServiceAddress, server: IPv4Address) -> UInt32? {
        services[service].flatMap { serverIDs[ServerKey(service: $0, address: server)] }.map(UInt32.init)
    }

    // MARK: Ways

    /// Says how a real server is reached; nil: there is no way now.
    public func setPath(_ path: Path?, to address: IPv4Address) throws(BPFError) {
        guard paths[address] != path || (path != nil && pathIDs[address] == nil) else { return }
        var row = 0
        if let path {
            guard let allocated = pathRows.allocate() else { throw BPFError("find room for a path", code: ENOSPC) }
            row = allocated
            maps.paths[row] = path.row
            try maps.egress.update(UInt32(path.interface), for: UInt32(path.interface))
        }
        for (key, id) in serverIDs where key.address == address {
            let server = maps.servers[id]
            writeWord(id, path: UInt32(row), weight: server.weight, flags: UInt32(server.flags))
        }
        if let old = pathIDs[address] { pathRows.release(old) }
        pathIDs[address] = row == 0 ? nil : row
        paths[address] = path
    }

    // MARK: Settings

    private func initializeSettings() {
        let settings = maps.settings.pointer(0)
        settings.storeBytes(of: UInt64.random(in: .min ... .max), toByteOffset: 8, as: UInt64.self)
        let timeouts: [(ipvsd_state, Int)] = [
            // ip_vs_proto_tcp.c's tcp_timeouts and ip_vs_proto_udp.c's udp_timeouts, in seconds.
            (IPVSD_STATE_NONE, 2), (IPVSD_STATE_SYN_RECV, 60), (IPVSD_STATE_ESTABLISHED, 900),
            (IPVSD_STATE_FIN_WAIT, 120), (IPVSD_STATE_TIME_WAIT, 120), (IPVSD_STATE_CLOSE, 10), (IPVSD_STATE_UDP, 300),
            (IPVSD_STATE_BARE_ACK, 900), (IPVSD_STATE_ONE_DATAGRAM, 300),
        ]
        for (state, seconds) in timeouts {
            let ticks = UInt16(min(seconds * 1_000_000_000 >> Int(IPVSD_TICK_SHIFT), 32767))
            settings.storeBytes(of: ticks, toByteOffset: timeoutOffset + 2 * Int(state.rawValue), as: UInt16.self)
        }
        settings.storeBytes(of: UInt32(IPVSD_ABI_VERSION), as: UInt32.self)
    }

    /// Frames longer than this were merged by the ingress interface.
    public func setIngressMTU(_ mtu: UInt32) {
        maps.settings.pointer(0).storeBytes(of: mtu, toByteOffset: 4, as: UInt32.self)
    }

    /// How many SYNs without a completed handshake make a server silent; 0: no number does.
    public func setSilentAfter(_ syns: UInt32) {
        maps.settings.pointer(0).storeBytes(of: syns, toByteOffset: silentAfterOffset, as: UInt32.self)
    }

    /// SYNs that were sent to the real server since a handshake with it completed.
    public func unansweredSYNs(server id: UInt32) -> UInt32 { maps.loads[Int(id)].unanswered }

    /// The director's addresses to which checks are answered.
    public func setCheckAddresses(_ addresses: [IPv4Address]) {
        for index in 0..<Int(IPVSD_CHECK_ADDRESSES) {
            let address = index < addresses.count ? addresses[index].bigEndian : 0
            maps.settings.pointer(0).storeBytes(
                of: address, toByteOffset: checkAddressOffset + 4 * index, as: UInt32.self)
        }
    }

    // MARK: Attaching

    public static func linkPin(directory: String, interface: Int32) -> String { "\(directory)/link-\(interface)" }

    /// Everything that a director on this interface pins, in the order it is made.
    public static func pins(directory: String, interface: Int32) -> [String] {
        DirectorMaps.names.map { "\(directory)/\($0)" }
            + ["\(directory)/director", linkPin(directory: directory, interface: interface)]
    }

    private func linkPath(_ interface: Int32) -> String { Self.linkPin(directory: directory, interface: interface) }

    /// Puts the program on the interface: in place of the last daemon's without losing a packet, where that one is
    /// attached in the same mode.
    public func attach(interface: Int32, mode: XDPMode) throws(BPFError) {
        let program = try object.program(named: "director")
        if let link = try BPFLink(pinnedAt: linkPath(interface)), try link.interface() == UInt32(interface),
            try XDPAttachment.of(interface: interface)?.mode == mode
        {
            try link.update(to: program)
        } else {
            unlink(linkPath(interface))
            try program.attachXDP(interface: interface, mode: mode).pin(at: linkPath(interface))
        }
        let pin = "\(directory)/director"
        unlink(pin)
        try program.pin(at: pin)
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

    /// Ports of any-port services on which clients' handshakes completed, the most recent first.
    public func learntPorts() throws(BPFError) -> [ServiceAddress: [UInt16]] {
        let addresses = Dictionary(uniqueKeysWithValues: services.map { ($1, $0) })
        var ports: [ServiceAddress: [(port: UInt16, time: UInt64)]] = [:]
        for key in try maps.learntPorts.keys() {
            guard let address = addresses[Int(key.id)], let time = try maps.learntPorts.value(for: key) else {
                continue
            }
            ports[address, default: []].append((UInt16(bigEndian: key.port), time))
        }
        return ports.mapValues { $0.sorted { $0.time > $1.time }.map(\.port) }
    }

    /// Forgets ports that nobody answers, until a client's handshake completes there again.
    public func forgetLearntPorts(_ ports: Set<UInt16>, of service: ServiceAddress) throws(BPFError) {
        guard let index = services[service] else { return }
        for port in ports {
            try maps.learntPorts.remove(ipvsd_port(id: UInt32(index), port: port.bigEndian, reserved: 0))
        }
    }

    /// The ports that have answered checks on a service's real servers; kept for the next daemon.
    public func answeredPorts(of service: ServiceAddress) throws(BPFError) -> [IPv4Address: Set<UInt16>] {
        var ports: [IPv4Address: Set<UInt16>] = [:]
        for key in try maps.answeredPorts.keys() where Int(key.id) < maps.servers.count {
            let row = maps.servers[Int(key.id)]
            guard let index = services[service], Int(row.service) == index, row.flags & UInt16(IPVSD_SERVER_USED) != 0
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

    /// Of every real server that a row is kept for, also removed ones whose connections go on.
    public var serverAddresses: Set<IPv4Address> { Set(serverIDs.keys.map(\.address)) }

    public func snapshot() throws(BPFError) -> DataPlaneSnapshot { try DataPlaneSnapshot(of: maps) }
}

private let configuredWeightOffset = MemoryLayout<ipvsd_server>.offset(of: \.configured_weight) ?? 14
private let timeoutOffset = MemoryLayout<ipvsd_settings>.offset(of: \.timeout) ?? 16
private let checkAddressOffset = MemoryLayout<ipvsd_settings>.offset(of: \.check_address) ?? 48
private let silentAfterOffset = MemoryLayout<ipvsd_settings>.offset(of: \.silent_after) ?? 80
private let filterOffset = MemoryLayout<ipvsd_settings>.offset(of: \.vip_filter) ?? 88

extension Path {
    var row: ipvsd_path {
        let bytes = (nextHopMAC?.bytes ?? [0, 0, 0, 0, 0, 0]) + sourceMAC.bytes
        let words = bytes.withUnsafeBytes {
            ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
        }
        let flags = (nextHopMAC == nil ? 0 : IPVSD_PATH_RESOLVED) | (transmits ? IPVSD_PATH_TRANSMIT : 0)
        return ipvsd_path(
            mac_first8: words.0, mac_last4: words.1, ifindex: UInt32(interface), source: source.bigEndian,
            destination: destination.bigEndian, mtu: mtu, flags: flags)
    }

    /// Nil for a row that was never filled.
    init?(row: ipvsd_path) {
        let bytes = withUnsafeBytes(of: row.mac_first8) { Array($0) } + withUnsafeBytes(of: row.mac_last4) { Array($0) }
        guard row.ifindex != 0, let sourceMAC = MACAddress(Array(bytes[6...])) else { return nil }
        let resolved = row.flags & IPVSD_PATH_RESOLVED != 0
        self.init(
            source: IPv4Address(bigEndian: row.source), destination: IPv4Address(bigEndian: row.destination),
            interface: Int32(row.ifindex), sourceMAC: sourceMAC,
            nextHopMAC: resolved ? MACAddress(Array(bytes[..<6])) : nil, mtu: row.mtu,
            transmits: row.flags & IPVSD_PATH_TRANSMIT != 0)
    }
}
