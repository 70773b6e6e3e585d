internal import BPF
internal import LoadBalancing

/// Whether tables that are there will do, and what becomes of them where they will not.
extension Capacity {
    /// Rows of a table that 16 bits number.
    static let mostRows = 1 << 16
    /// Slots are numbered by 32 bits.
    static let mostSlotGroups = 1 << 30

    /// Of tables that are there.
    init(of maps: DirectorMaps) {
        self = .least
        flowBuckets = maps.flows.count
        listenerBuckets = maps.listenerCache.buckets.count
        services = maps.services.count
        servers = maps.servers.count
        slotGroups = maps.slots.count
        templates = maps.templates.maxEntries
    }

    /// Whether no table of the other one would be larger.
    func covers(_ other: Capacity) -> Bool {
        other.sizes.allSatisfy { map, size in (sizes[map] ?? 0) >= size }
    }

    /// Large enough for either.
    func joined(with other: Capacity) -> Capacity {
        var joined = self
        joined.flowBuckets = max(flowBuckets, other.flowBuckets)
        joined.listenerBuckets = max(listenerBuckets, other.listenerBuckets)
        joined.services = max(services, other.services)
        joined.servers = max(servers, other.servers)
        joined.slotGroups = max(slotGroups, other.slotGroups)
        joined.templates = max(templates, other.templates)
        return joined
    }

    /// Makes it large enough for what is held and what is wanted besides. Throws ENOSPC where no table could be.
    mutating func makeRoom(for demand: TableDemand) throws(BPFError) {
        for rows in [demand.services, demand.servers] {
            if let refusal = rows.refusal(most: Self.mostRows - 1) { throw refusal }
        }
        // No more than half full: a key that finds no place in its bucket takes a search of a hash table.
        listenerBuckets = Self.powerOfTwo(atLeast: demand.listenerKeys / 2, minimum: listenerBuckets)
        services = Self.powerOfTwo(atLeast: demand.services.size, minimum: services)
        // There are twice as many paths.
        servers = Self.powerOfTwo(
            atLeast: min(max(demand.servers.size, demand.paths.size / 2), Self.mostRows), minimum: servers)
        while !demand.slices.hasRoom(for: demand.newSlices, groups: slotGroups), slotGroups < Self.mostSlotGroups {
            slotGroups *= 2
        }
    }
}

extension XDPDataPlane {
    /// Whether the tables have room for this besides what they hold. Throws ENOSPC where no larger ones would have.
    func hasRoom(connections: Int, services: [VirtualService]) throws(BPFError) -> Bool {
        var wanted = Capacity(connections: connections, services: services)
        try wanted.makeRoom(for: heldRows.demand(of: services))
        return Capacity(of: maps).covers(wanted)
    }
}
