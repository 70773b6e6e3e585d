internal import Addresses
internal import BPF
internal import CLinux
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms
internal import SystemCalls

/// The tables that schedulers look servers up in, built aside and swapped.
extension XDPDataPlane {
    /// What the packet program is to look servers up in, as indices into the list, and how. Nil refuses.
    struct Schedule {
        var entries: [Int?]
        var kind: ipvsd_scheduler
        var flags: UInt32 = 0

        /// The byte above a slice.
        var scheduler: UInt32 { kind.rawValue | flags }
    }

    func schedule(_ service: VirtualService) -> Schedule {
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
            // With fallback the packet program needs to know whose turn it would be.
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

    /// IPVS's hash schedulers refuse the clients of a server with weight 0, but know nothing of one that is out: that
    /// one is not in the list.
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

    /// What a Maglev table is made of.
    struct MaglevSource: Equatable {
        var servers: [UInt16]
        var weights: [Int]
        var size: Int
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

    func swapSlices(_ service: VirtualService, index: Int, ids: [UInt16]) throws(BPFError) {
        let plan = schedule(service)
        let schedule = plan.entries.map { $0.map { ids[$0] } ?? 0 }
        let source = maglevSource(service, ids: ids)
        let maglev = source == maglevSources[index] ? nil : slots(of: source, service)

        let row = maps.services[index]
        if row.name != service.scheduler.packedName { forgetLocality(ofService: index) }
        clinux_store_u64(maps.services.field(\.name, of: index), service.scheduler.packedName)
        let scheduleWord = try place(schedule, scheduler: plan.scheduler, over: row.schedule)
        var maglevWord = row.maglev
        do {
            if let maglev { maglevWord = try place(maglev, scheduler: 0, over: row.maglev) }
        } catch {
            if scheduleWord != row.schedule { slices.release(Self.slice(of: scheduleWord)) }
            throw error
        }
        clinux_store_u64(maps.services.field(\.schedule, of: index), scheduleWord)
        clinux_store_u64(maps.services.field(\.maglev, of: index), maglevWord)
        maglevSources[index] = source
        if scheduleWord != row.schedule { slices.release(Self.slice(of: row.schedule)) }
        if maglevWord != row.maglev { slices.release(Self.slice(of: row.maglev)) }
    }

    /// What lblc and lblcr remember.
    private func forgetLocality(ofService index: Int) {
        for field in [\ipvsd_service.cached, \.emptied, \.changed, \.used] {
            maps.services.field(field, of: index).pointee = 0
        }
        for id in serverIDs.ofService(index).values { maps.servers.field(\.joined, of: id).pointee = 0 }
    }

    /// Before another server takes the row.
    func forgetLocality(ofServer id: Int, service index: Int) {
        let row = maps.services[index]
        guard row.name == Scheduler.lblc.packedName, row.cached == UInt32(id) else { return }
        maps.services.field(\.cached, of: index).pointee = 0
    }

    /// Writes the entries to a fresh slice, unless `current` holds just these; the word that names the slice.
    func place(_ entries: [UInt16], scheduler: UInt32, over current: UInt64) throws(BPFError) -> UInt64 {
        func word(_ slice: SliceAllocator.Slice) -> UInt64 {
            ipvsd_slice(UInt32(slice.first), UInt32(slice.size), scheduler)
        }
        let old = Self.slice(of: current)
        if old.size == entries.count, word(old) == current,
            (0..<old.size).allSatisfy({ maps.slot(old.first + $0).pointee == entries[$0] })
        {
            return current
        }
        let slice = try allocateSlice(size: entries.count)
        for (offset, entry) in entries.enumerated() {
            maps.slot(slice.first + offset).pointee = entry
        }
        return word(slice)
    }

    /// After many changes in a row all room may be resting: then waits until it has rested.
    private func allocateSlice(size: Int) throws(BPFError) -> SliceAllocator.Slice {
        if let slice = slices.allocate(size: size) { return slice }
        RowAllocator.waitForGrace()
        if let slice = slices.allocate(size: size) { return slice }
        throw BPFError("find room for \(size) slots", code: ENOSPC)
    }

    static func slice(of word: UInt64) -> SliceAllocator.Slice {
        SliceAllocator.Slice(first: Int(ipvsd_slice_first(word)), size: Int(ipvsd_slice_size(word)))
    }
}

extension DirectorMaps {
    func slot(_ index: Int) -> UnsafeMutablePointer<UInt16> {
        let group = slots.pointer(index / Int(IPVSD_SLOT_GROUP)) + groupOffset
        return group.assumingMemoryBound(to: UInt16.self) + index % Int(IPVSD_SLOT_GROUP)
    }
}

// Looked up once: a service may have 100,000 slots.
private let groupOffset = MemoryLayout<ipvsd_slots>.offset(ofStored: \.server)

/// The upper byte of a schedule's word.
extension SchedulerFlag {
    static func flags(of scheduler: Scheduler, word: UInt64) -> Set<SchedulerFlag> {
        Set(allCases.filter { $0.scheduler == scheduler && ipvsd_slice_flags(word) & $0.bit != 0 })
    }

    var bit: UInt32 {
        switch self {
        case .shPort, .mhPort: IPVSD_SCHEDULER_BY_PORT
        case .shFallback, .mhFallback: IPVSD_SCHEDULER_FALLBACK
        }
    }
}

extension Scheduler {
    /// Up to eight ASCII characters in a word, the first in the lowest byte.
    var packedName: UInt64 {
        rawValue.utf8.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    init?(packedName: UInt64) {
        guard let scheduler = Scheduler.allCases.first(where: { $0.packedName == packedName }) else { return nil }
        self = scheduler
    }
}
