internal import PacketPrograms

/// The choices of lc, similar schedulers and twos, as the reference for the tests of the packet program.
public enum LeastConnections {
    /// A real server as the scheduler sees it.
    public struct Load: Hashable, Sendable {
        /// The number of connections in the protocol's active states.
        public var active: UInt32
        /// The number of recorded connections in all other states, including UDP's.
        public var inactive: UInt32
        public var weight: UInt16
        /// Whether it is over its threshold.
        public var isOverloaded: Bool

        public init(active: UInt32, inactive: UInt32, weight: UInt16, isOverloaded: Bool = false) {
            self.active = active
            self.inactive = inactive
            self.weight = weight
            self.isOverloaded = isOverloaded
        }

        public var isAvailable: Bool { weight > 0 && !isOverloaded }

        /// The load active * 256 + inactive, as in ip_vs_dest_conn_overhead. It has 64 bits, where the kernel's `int`
        /// would overflow at 8 million active connections.
        public var overhead: UInt64 { UInt64(active) << 8 + UInt64(inactive) }
    }

    /// Returns the index of the server for a new connection, or nil if none is available.
    ///
    /// The least overhead wins, or with `weighted` the least overhead / weight. Fractions are compared by
    /// cross-multiplication, which is exact, as products are below 2^57. Unavailable servers are skipped. Among equals
    /// the first in list order wins, as a later one must be strictly less (ip_vs_lc_schedule, ip_vs_wlc_schedule).
    public static func choose(_ servers: [Load], weighted: Bool) -> Int? {
        least(servers) { ($0.overhead, weighted ? $0.weight : 1) }
    }

    /// Returns the server with the least (active + 1) / weight, as sed does (ip_vs_sed_schedule).
    public static func shortestExpectedDelay(_ servers: [Load]) -> Int? {
        least(servers) { (UInt64($0.active) + 1, $0.weight) }
    }

    /// Returns the first server without active connections, or else sed's choice, as nq does (ip_vs_nq_schedule).
    public static func neverQueue(_ servers: [Load]) -> Int? {
        servers.firstIndex { $0.isAvailable && $0.active == 0 } ?? shortestExpectedDelay(servers)
    }

    /// Returns the highest weight among servers whose active connections do not exceed it, as ovf does
    /// (ip_vs_ovf_schedule). It is nil if all exceed it.
    public static func overflow(_ servers: [Load]) -> Int? {
        let open = servers.indices.filter {
            servers[$0].isAvailable && servers[$0].active <= UInt32(servers[$0].weight)
        }
        return open.max { (servers[$0].weight, $1) < (servers[$1].weight, $0) }
    }

    /// Returns the choice of twos (ip_vs_twos_schedule). `ring` has each server as often as its weight. `draw` has 64
    /// random bits. Its lower half draws the first server, and its upper half the second. The second wins if it has
    /// less overhead for its weight.
    public static func twoChoices(_ servers: [Load], ring: [Int], draw: UInt64) -> Int? {
        guard let one = self.draw(draw, from: ring, of: servers),
            let other = self.draw(draw >> 32, from: ring, of: servers)
        else { return nil }
        let isLess =
            UInt64(servers[other].weight) * servers[one].overhead > UInt64(servers[one].weight)
            * servers[other].overhead
        return isLess ? other : one
    }

    /// Draws a server, again a few times if it is not available, and then takes the next available one in the ring.
    private static func draw(_ draw: UInt64, from ring: [Int], of servers: [Load]) -> Int? {
        var (draw, index) = (draw, 0)
        for attempt in 0...Int(IPVSD_REDRAWS) where !ring.isEmpty {
            if attempt > 0 { draw = ipvsd_mix(draw &+ 1) }
            index = Int(ipvsd_scale(UInt32(truncatingIfNeeded: draw), UInt32(ring.count)))
            if servers[ring[index]].isAvailable { return ring[index] }
        }
        return ring.indices.lazy.map { ring[(index + $0) % ring.count] }.first { servers[$0].isAvailable }
    }

    private static func least(_ servers: [Load], _ cost: (Load) -> (overhead: UInt64, weight: UInt16)) -> Int? {
        var least: Int?
        for (index, candidate) in servers.enumerated() where candidate.isAvailable {
            guard let chosen = least else {
                least = index
                continue
            }
            let (mine, its) = (cost(candidate), cost(servers[chosen]))
            if mine.overhead * UInt64(its.weight) < its.overhead * UInt64(mine.weight) { least = index }
        }
        return least
    }
}
