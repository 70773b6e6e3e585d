internal import BPF
public import LoadBalancing
internal import PacketPrograms

/// How much the tables have room for. They follow the configuration: a small one takes little memory.
public struct Capacity: Sendable, Hashable {
    /// Of eight flows each.
    var flowBuckets: Int
    /// Of four listeners each.
    var listenerBuckets: Int
    var services: Int
    var servers: Int
    var slotGroups: Int
    var templates: Int

    /// Of which no table is larger.
    static let least = Capacity(connections: 1)

    /// So many connections fit at ease: the flow table has at least twice as many entries, of 16 bytes. Of all else there
    /// is twice what these services need: while a real server or a table is replaced, both are there.
    public init(connections: Int = ConnectionLimits.defaultConnections, services: [VirtualService] = []) {
        precondition(connections <= ConnectionLimits.maximumConnections)
        let listeners = services.flatMap(\.listeners)
        let servers = services.reduce(0) { $0 + $1.servers.count }
        let slots = services.map { $0.sliceSizes.reduce(8, +) }
        flowBuckets = Self.powerOfTwo(atLeast: 2 * connections / Int(IPVSD_WAYS), minimum: Int(IPVSD_SWEEP_BUCKETS))
        // An any-port service takes two, and its VIP one.
        listenerBuckets = Self.powerOfTwo(atLeast: 3 * listeners.count / 2, minimum: 64)
        self.services = min(Self.powerOfTwo(atLeast: 2 * services.count, minimum: 64), Self.mostRows)
        self.servers = min(Self.powerOfTwo(atLeast: 2 * servers, minimum: 256), Self.mostRows)
        slotGroups = Self.powerOfTwo(atLeast: (slots.reduce(0, +) + (slots.max() ?? 0)) / 2, minimum: 1 << 14)
        templates = services.contains { $0.persistence != nil } ? max(1 << 16, flowBuckets) : 1
    }

    /// `minimum` is a power of two.
    static func powerOfTwo(atLeast number: Int, minimum: Int) -> Int {
        var power = minimum
        while power < number { power *= 2 }
        return power
    }

    /// The entries of the maps that follow the configuration.
    var sizes: [PinnedMap: Int] {
        Dictionary(uniqueKeysWithValues: MapCatalogue.all.compactMap { map in map.size.map { (map, $0(self)) } })
    }
}

extension VirtualService {
    /// The slots that its schedule and its Maglev table take, or a little more.
    var sliceSizes: [Int] {
        let weights = servers.map { scheduler.ignoresWeights ? 1 : Int($0.weight) }
        let sum = weights.reduce(0, +) * (startsSlowly ? SlowStart.whole : 1)
        let schedule =
            switch scheduler {
            case .wrr, .twos: max(servers.count, min(WeightedRoundRobin.longestRing, sum))
            case .rr where startsSlowly: max(servers.count, min(WeightedRoundRobin.longestRing, sum))
            default: max(servers.count, 256)
            }
        return [schedule, maglevSize ?? MaglevTable.size(forServers: servers.count, minimum: 4093)]
    }
}

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
