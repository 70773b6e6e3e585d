/// The lc and wlc schedulers' choice: the reference that the packet program's choice is tested against.
public enum LeastConnections {
    /// A real server as the scheduler sees it.
    public struct Load: Hashable, Sendable {
        /// Connections that carry traffic, by the protocol's active states.
        public var active: UInt32
        /// Connections in any other state that are still remembered, UDP's among them.
        public var inactive: UInt32
        public var weight: UInt16

        public init(active: UInt32, inactive: UInt32, weight: UInt16) {
            self.active = active
            self.inactive = inactive
            self.weight = weight
        }

        /// active * 256 + inactive: ip_vs_dest_conn_overhead, in 64 bits where the kernel's `int` would overflow at
        /// 8 million active connections.
        public var overhead: UInt64 { UInt64(active) << 8 + UInt64(inactive) }
    }

    /// The index of the server for a new connection, or nil if every weight is 0.
    ///
    /// The least overhead wins, or when `weighted` the least overhead / weight, compared by cross-multiplication (less
    /// than 2^57, so exact). Servers of weight 0 are skipped. Among equals the first in list order wins, since a later
    /// one must be strictly less (ip_vs_lc_schedule, ip_vs_wlc_schedule).
    public static func choose(_ servers: [Load], weighted: Bool) -> Int? {
        var least: Int?
        for (index, candidate) in servers.enumerated() where candidate.weight > 0 {
            guard let chosen = least else {
                least = index
                continue
            }
            let factors: (chosen: UInt64, candidate: UInt64) =
                weighted ? (UInt64(servers[chosen].weight), UInt64(candidate.weight)) : (1, 1)
            if candidate.overhead * factors.chosen < servers[chosen].overhead * factors.candidate { least = index }
        }
        return least
    }
}
