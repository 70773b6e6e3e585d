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
