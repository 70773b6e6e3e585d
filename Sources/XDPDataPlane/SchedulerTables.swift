internal import Addresses
internal import BPF
internal import CLinux
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms
internal import SystemCalls

/// The schedulers' tables of all services, as slices of the map `slots`. A new table is built in free slots. One store
/// of the word that names its slice then puts it into use.
struct SchedulerTables {
    /// A scheduler's table of one service.
    private struct Schedule {
        /// The index of each slot's real server among the service's. Nil: no server, so that the client is refused.
        var entries: [Int?]
        var kind: ipvsd_scheduler
        var flags: UInt32 = 0

        /// The scheduler bits of the word that names the slice.
        var scheduler: UInt32 { kind.rawValue | flags }
    }

    /// The input of a service's Maglev table.
    private struct MaglevSource: Equatable {
        var servers: [UInt16]
        var weights: [Int]
        var size: Int
    }

    private let maps: DirectorMaps
    private(set) var slices: SliceAllocator
    /// The input of each service's present Maglev table, by the service's row.
    private var maglevSources: [Int: MaglevSource] = [:]

    init(of maps: DirectorMaps, used: [SliceAllocator.Slice]) {
        self.maps = maps
        slices = SliceAllocator(groups: maps.slots.count, used: used)
    }

    /// Replaces the tables of a service. `ids`: the rows of its real servers, in their order. `members`: all rows that
    /// belong to the service, those of removed real servers included.
    mutating func replace(
        _ service: VirtualService, index: Int, ids: [UInt16], members: some Sequence<Int>
    ) throws(BPFError) {
        let plan = schedule(service)
        let schedule = plan.entries.map { $0.map { ids[$0] } ?? 0 }
        let source = maglevSource(service, ids: ids)
        let maglev = source == maglevSources[index] ? nil : slots(of: source, service)

        let row = maps.services[index]
        if row.name != service.scheduler.packedName { maps.clearLocality(ofService: index, members: members) }
        clinux_store_u64(maps.services.field(\.name, of: index), service.scheduler.packedName)
        let scheduleWord = try write(schedule, scheduler: plan.scheduler, over: row.schedule)
        var maglevWord = row.maglev
        do throws(BPFError) {
            if let maglev { maglevWord = try write(maglev, scheduler: 0, over: row.maglev) }
        } catch {
            if scheduleWord != row.schedule { slices.release(.init(word: scheduleWord)) }
            throw error
        }
        clinux_store_u64(maps.services.field(\.schedule, of: index), scheduleWord)
        clinux_store_u64(maps.services.field(\.maglev, of: index), maglevWord)
        maglevSources[index] = source
        if scheduleWord != row.schedule { slices.release(.init(word: row.schedule)) }
        if maglevWord != row.maglev { slices.release(.init(word: row.maglev)) }
    }

    /// Removes the tables of a service.
    mutating func remove(index: Int) {
        let row = maps.services[index]
        maglevSources[index] = nil
        clinux_store_u64(maps.services.field(\.schedule, of: index), 0)
        clinux_store_u64(maps.services.field(\.maglev, of: index), 0)
        slices.release(.init(word: row.schedule))
        slices.release(.init(word: row.maglev))
    }

    /// Writes the entries to a new slice, and returns the word that names it. Returns `current` where that slice
    /// already holds these entries.
    private mutating func write(_ entries: [UInt16], scheduler: UInt32, over current: UInt64) throws(BPFError) -> UInt64
    {
        func word(_ slice: SliceAllocator.Slice) -> UInt64 {
            ipvsd_slice(UInt32(slice.first), UInt32(slice.size), scheduler)
        }
        let old = SliceAllocator.Slice(word: current)
        if old.size == entries.count, word(old) == current,
            (0..<old.size).allSatisfy({ maps.slot(old.first + $0).pointee == entries[$0] })
        {
            return current
        }
        let slice = try allocate(size: entries.count)
        for (offset, entry) in entries.enumerated() {
            maps.slot(slice.first + offset).pointee = entry
        }
        return word(slice)
    }

    /// Returns a free slice. Where many changes at once have left all slots at rest, the call waits until they are
    /// free.
    private mutating func allocate(size: Int) throws(BPFError) -> SliceAllocator.Slice {
        if let slice = slices.allocate(size: size) { return slice }
        RowAllocator.waitForGrace()
        if let slice = slices.allocate(size: size) { return slice }
        throw BPFError("find room for \(size) slots", code: ENOSPC)
    }

    // MARK: Contents

    private func schedule(_ service: VirtualService) -> Schedule {
        let weights = service.schedulerWeights.map(Int.init)
        let list: [Int?] = weights.indices.map { $0 }
        let isEmpty = weights.allSatisfy { $0 == 0 }
        switch service.schedulerNow {
        case .mh:
            return Schedule(entries: [], kind: IPVSD_SCHEDULER_MH, flags: hashFlags(service))
        case _ where isEmpty: return Schedule(entries: [], kind: IPVSD_SCHEDULER_RING)
        case .rr: return Schedule(entries: WeightedRoundRobin.evenRing(weights: weights), kind: IPVSD_SCHEDULER_RING)
        case .wrr: return Schedule(entries: WeightedRoundRobin.ring(weights: weights), kind: IPVSD_SCHEDULER_RING)
        case .twos: return Schedule(entries: WeightedRoundRobin.ring(weights: weights), kind: IPVSD_SCHEDULER_TWOS)
        case .lc: return Schedule(entries: list, kind: IPVSD_SCHEDULER_LC)
        case .wlc: return Schedule(entries: list, kind: IPVSD_SCHEDULER_WLC)
        case .sed: return Schedule(entries: list, kind: IPVSD_SCHEDULER_SED)
        case .nq: return Schedule(entries: list, kind: IPVSD_SCHEDULER_NQ)
        case .ovf: return Schedule(entries: list, kind: IPVSD_SCHEDULER_OVF)
        case .lblc: return Schedule(entries: list, kind: IPVSD_SCHEDULER_LBLC)
        case .lblcr: return Schedule(entries: list, kind: IPVSD_SCHEDULER_LBLCR)
        case .fo: return Schedule(entries: Failover.order(weights: weights), kind: IPVSD_SCHEDULER_FO)
        case .dh:
            return hashed(service, Schedule(entries: [], kind: IPVSD_SCHEDULER_RING)) { weights, _ in
                [SourceHash.server(ofVIP: service.address.vip, weights: weights)]
            }
        case .sh:
            let flags = hashFlags(service)
            let fallsBack = flags & UInt32(IPVSD_SCHEDULER_FALLBACK) != 0
            // With fallback, the packet program also needs the servers of weight 0, to go on from their buckets.
            return hashed(service, Schedule(entries: [], kind: IPVSD_SCHEDULER_SH, flags: flags)) { weights, tenths in
                SourceHash.buckets(weights: weights, tenths: tenths)
                    .map { $0.flatMap { fallsBack || weights[$0] > 0 ? $0 : nil } }
            }
        }
    }

    private func hashFlags(_ service: VirtualService) -> UInt32 {
        let flags = service.flags.filter { $0.scheduler == service.scheduler }
        return flags.reduce(0) { $0 | $1.bit }
    }

    /// Fills a hash table from the listed real servers. As in IPVS, a server with weight 0 keeps its buckets, and its
    /// clients are refused. IPVS does not know of servers that are down, and so they are not in the list.
    private func hashed(
        _ service: VirtualService, _ schedule: Schedule, _ table: (_ weights: [Int], _ tenths: [Int]) -> [Int?]
    ) -> Schedule {
        let servers = service.servers
        let present = servers.indices.filter { servers[$0].effective.standing == .listed }
        var schedule = schedule
        schedule.entries = table(
            present.map { Int(servers[$0].effective.weight) }, present.map { servers[$0].effective.tenths }
        ).map { $0.map { present[$0] } }
        return schedule
    }

    private func maglevSource(_ service: VirtualService, ids: [UInt16]) -> MaglevSource {
        let ignoresWeights = service.scheduler.ignoresWeights && !service.isStartingSlowly
        let weights = service.schedulerWeights.map { ignoresWeights ? min(Int($0), 1) : Int($0) }
        let size = service.maglevSize ?? MaglevTable.size(forServers: weights.count, minimum: 4093)
        return MaglevSource(servers: ids, weights: weights, size: size)
    }

    private func slots(of source: MaglevSource, _ service: VirtualService) -> [UInt16] {
        let members = zip(service.servers, source.weights).map {
            (key: $0.address.v4.map { UInt64($0.value) } ?? 0, weight: $1)
        }
        return MaglevTable.build(members: members, size: source.size).map { source.servers[Int($0)] }
    }
}

extension DirectorMaps {
    func slot(_ index: Int) -> UnsafeMutablePointer<UInt16> {
        let group = slots.pointer(index / Int(IPVSD_SLOT_GROUP)) + groupOffset
        return group.assumingMemoryBound(to: UInt16.self) + index % Int(IPVSD_SLOT_GROUP)
    }

    /// Clears the memory of lblc and lblcr in the service's row and its real servers' rows.
    fileprivate func clearLocality(ofService index: Int, members: some Sequence<Int>) {
        for field in [\ipvsd_service.cached, \.emptied, \.changed, \.used] {
            services.field(field, of: index).pointee = 0
        }
        for id in members { servers.field(\.joined, of: id).pointee = 0 }
    }

    /// Clears lblc's memory of a real server before another one gets its row.
    func clearLocality(ofServer id: Int, service index: Int) {
        let row = services[index]
        guard row.name == Scheduler.lblc.packedName, row.cached == UInt32(id) else { return }
        services.field(\.cached, of: index).pointee = 0
    }
}

/// The offset is looked up once, since a service may have 100,000 slots.
private let groupOffset = MemoryLayout<ipvsd_slots>.offset(ofStored: \.server)

/// The scheduler's flags as bits of the word that names its slice.
extension SchedulerFlag {
    static func flags(of scheduler: Scheduler, word: UInt64) -> Set<SchedulerFlag> {
        Set(allCases.filter { $0.scheduler == scheduler && ipvsd_slice_flags(word) & $0.bit != 0 })
    }

    fileprivate var bit: UInt32 {
        switch self {
        case .shPort, .mhPort: IPVSD_SCHEDULER_BY_PORT
        case .shFallback, .mhFallback: IPVSD_SCHEDULER_FALLBACK
        }
    }
}

extension Scheduler {
    /// The name's ASCII characters, at most eight, in a word. The first one is in the lowest byte.
    var packedName: UInt64 {
        rawValue.utf8.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    init?(packedName: UInt64) {
        guard let scheduler = Scheduler.allCases.first(where: { $0.packedName == packedName }) else { return nil }
        self = scheduler
    }
}
