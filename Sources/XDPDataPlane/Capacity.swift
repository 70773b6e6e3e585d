internal import BPF
public import LoadBalancing
internal import PacketPrograms

/// The sizes of the tables. They follow the configuration, so that a small one takes little memory.
public struct Capacity: Sendable, Hashable {
    /// The number of buckets of the flow table, of eight flows each.
    var flowBuckets: Int
    /// The number of buckets of the listener cache, of four listeners each.
    var listenerBuckets: Int
    var services: Int
    var servers: Int
    var slotGroups: Int
    var templates: Int

    /// The smallest capacity.
    static let least = Capacity(connections: 1)

    /// Makes a capacity for a number of connections and for services. The flow table gets at least twice as many
    /// entries, of 16 bytes each, as connections. The other tables get room for twice these services, since old and new
    /// rows exist together during a replacement.
    public init(connections: Int = ConnectionLimits.defaultConnections, services: [VirtualService] = []) {
        precondition(connections <= ConnectionLimits.maximumConnections)
        let listeners = services.flatMap(\.listeners)
        let servers = services.reduce(0) { $0 + $1.servers.count }
        let slots = services.map { $0.sliceSizes.reduce(8, +) }
        flowBuckets = Self.powerOfTwo(atLeast: 2 * connections / Int(IPVSD_WAYS), minimum: Int(IPVSD_SWEEP_BUCKETS))
        // An any-port service takes two entries, and its VIP one.
        listenerBuckets = Self.powerOfTwo(atLeast: 3 * listeners.count / 2, minimum: 64)
        self.services = min(Self.powerOfTwo(atLeast: 2 * services.count, minimum: 64), Self.mostRows)
        self.servers = min(Self.powerOfTwo(atLeast: 2 * servers, minimum: 256), Self.mostRows)
        slotGroups = Self.powerOfTwo(atLeast: (slots.reduce(0, +) + (slots.max() ?? 0)) / 2, minimum: 1 << 14)
        templates = services.contains { $0.persistence != nil } ? max(1 << 16, flowBuckets) : 1
    }

    /// Returns the least power of two that is at least `number` and `minimum`, itself a power of two.
    static func powerOfTwo(atLeast number: Int, minimum: Int) -> Int {
        var power = minimum
        while power < number { power *= 2 }
        return power
    }

    /// The number of entries of each map whose size follows the configuration.
    var sizes: [PinnedMap: Int] {
        Dictionary(uniqueKeysWithValues: MapCatalogue.all.compactMap { map in map.size.map { (map, $0(self)) } })
    }
}

extension VirtualService {
    /// The numbers of slots of its scheduler's table and of its Maglev table, or a little more.
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

/// The comparison of present tables with the capacity that is needed.
extension Capacity {
    /// The largest number of rows of a table whose rows have 16-bit numbers.
    static let mostRows = 1 << 16
    /// The largest number of groups of slots. A slot has a 32-bit number.
    static let mostSlotGroups = 1 << 30

    /// Makes the capacity of present tables.
    init(of maps: DirectorMaps) {
        self = .least
        flowBuckets = maps.flows.count
        listenerBuckets = maps.listenerCache.buckets.count
        services = maps.services.count
        servers = maps.servers.count
        slotGroups = maps.slots.count
        templates = maps.templates.maxEntries
    }

    /// Whether each table is at least as large as in the other capacity.
    func covers(_ other: Capacity) -> Bool {
        other.sizes.allSatisfy { map, size in (sizes[map] ?? 0) >= size }
    }

    /// Returns a capacity that is large enough for both.
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

    /// Enlarges the capacity for the rows that are held and the rows that are needed besides. Throws ENOSPC where even
    /// the largest table of services or real servers is too small.
    mutating func makeRoom(for demand: TableDemand) throws(BPFError) {
        for rows in [demand.services, demand.servers] {
            if let refusal = rows.refusal(most: Self.mostRows - 1) { throw refusal }
        }
        // The cache is at most half full, as a key without a place in its bucket costs a look-up in a hash table.
        listenerBuckets = Self.powerOfTwo(atLeast: demand.listenerKeys / 2, minimum: listenerBuckets)
        services = Self.powerOfTwo(atLeast: demand.services.size, minimum: services)
        // The table of paths has twice as many rows.
        servers = Self.powerOfTwo(
            atLeast: min(max(demand.servers.size, demand.paths.size / 2), Self.mostRows), minimum: servers)
        while !demand.slices.hasRoom(for: demand.newSlices, groups: slotGroups), slotGroups < Self.mostSlotGroups {
            slotGroups *= 2
        }
    }
}

extension XDPDataPlane {
    /// Whether the tables have room for these connections and services besides the rows that they hold. Throws ENOSPC
    /// where even the largest tables would have no room.
    func hasRoom(connections: Int, services: [VirtualService]) throws(BPFError) -> Bool {
        var wanted = Capacity(connections: connections, services: services)
        try wanted.makeRoom(for: heldRows.demand(of: services))
        return Capacity(of: maps).covers(wanted)
    }
}
