internal import BPF
internal import CLinux
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms

/// The tables that schedulers look servers up in, built aside and swapped.
extension XDPDataPlane {
    /// What the packet program is to look servers up in, as indices into the list, and how. Nil refuses.
    func schedule(
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
    func hashed(
        _ service: DesiredService, _ kind: ipvsd_scheduler, _ table: ([Int]) -> [Int?]
    ) -> (entries: [Int?], kind: ipvsd_scheduler, byPort: Bool) {
        let present = service.servers.indices.filter { !service.servers[$0].isDown }
        let entries = table(present.map { Int(service.servers[$0].weight) })
        return (entries.map { $0.map { present[$0] } }, kind, service.flags.contains(.shPort))
    }

    func swapSlices(_ service: DesiredService, index: Int, ids: [UInt16]) throws(BPFError) {
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
    func place(_ entries: [UInt16], scheduler: UInt64, over current: UInt64) throws(BPFError) -> UInt64 {
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

    func slot(_ index: Int) -> UInt16 {
        maps.slots.pointer(index / 4).load(fromByteOffset: index % 4 * 2, as: UInt16.self)
    }

    static func slice(of word: UInt64) -> SliceAllocator.Slice {
        SliceAllocator.Slice(first: Int(UInt32(truncatingIfNeeded: word)), size: Int(word >> 32 & 0xFFFFFF))
    }
}
