internal import PacketPrograms

/// The order in which the rr and wrr schedulers visit servers, laid out as a ring that a counter walks.
///
/// Kernel IPVS computes each step from a mark (ip_vs_wrr.c: `cw`, `mw`, `di`). Its order is periodic, so the period
/// can be tabulated and the packet path reads one entry.
public enum WeightedRoundRobin {
    /// A ring of more slots would cost more memory than exactness is worth.
    public static let longestRing = Int(IPVSD_RING_LIMIT)

    /// One period of ip_vs_wrr_schedule's order from a new service on: indices into `weights`.
    ///
    /// `di` is the weights' greatest common divisor (ip_vs_wrr_gcd_weight). A pass visits, in list order, the servers
    /// whose weight is at least `cw`; `cw` starts at the largest weight (ip_vs_wrr_max_weight) and each pass lowers it
    /// by `di`. The kernel's own `mw` and `cw` are lower by `di - 1`, which selects the same servers, since all weights
    /// are multiples of `di`; it matters only to weights that change under the scheduler.
    ///
    /// The length is the sum of the weights / `di`. Servers of weight 0 do not appear; if there is no other, the ring
    /// is empty. A longer period than `limit` is approximated as `scale(_:to:)` says.
    public static func ring(weights: [Int], limit: Int = longestRing) -> [Int] {
        precondition(limit > 0)
        let divisor = greatestCommonDivisor(weights)
        guard divisor > 0 else { return [] }
        let reduced = weights.map { max($0, 0) / divisor }
        guard reduced.reduce(0, +) > limit else { return passes(weights: reduced) }
        let scaled = scale(reduced, to: limit)
        let common = greatestCommonDivisor(scaled)
        return passes(weights: scaled.map { $0 / common })
    }

    /// The rr scheduler's ring: every server with a positive weight once (ip_vs_rr_schedule passes over weight 0).
    public static func evenRing(weights: [Int], limit: Int = longestRing) -> [Int] {
        ring(weights: weights.map { $0 > 0 ? 1 : 0 }, limit: limit)
    }

    private static func passes(weights: [Int]) -> [Int] {
        var ring: [Int] = []
        ring.reserveCapacity(weights.reduce(0, +))
        for current in stride(from: weights.max() ?? 0, through: 1, by: -1) {
            for (index, weight) in weights.enumerated() where weight >= current { ring.append(index) }
        }
        return ring
    }

    /// Positive weights with the sum `slots`, in proportion to `weights`, whose sum is larger.
    ///
    /// A server whose exact share is below one slot is lifted to one. The others divide what is left in proportion to
    /// their weights, whole slots first, then one more each by the largest remainder, the earlier server first among
    /// equals. So a server's slots differ from weight * slots / sum by less than 1, plus its part (weight / sum of the
    /// weights not lifted) of the number of servers lifted. With more servers than slots, the heaviest have one each.
    static func scale(_ weights: [Int], to slots: Int) -> [Int] {
        let positive = weights.indices.filter { weights[$0] > 0 }
        var scaled = [Int](repeating: 0, count: weights.count)
        guard positive.count < slots else {
            for index in positive.sorted(by: { (weights[$1], $0) < (weights[$0], $1) }).prefix(slots) {
                scaled[index] = 1
            }
            return scaled
        }
        var sharing = positive
        var left = slots
        var sum = weights.reduce(0, +)
        while case let small = sharing.filter({ weights[$0] * left < sum }), !small.isEmpty {
            sharing.removeAll { weights[$0] * left < sum }
            for index in small {
                scaled[index] = 1
                sum -= weights[index]
            }
            left -= small.count
        }
        for index in sharing { scaled[index] = weights[index] * left / sum }
        let missing = slots - scaled.reduce(0, +)
        let byRemainder = sharing.sorted {
            (weights[$1] * left % sum, $0) < (weights[$0] * left % sum, $1)
        }
        for index in byRemainder.prefix(missing) { scaled[index] += 1 }
        return scaled
    }

    /// Of the positive values; 0 if there is none.
    private static func greatestCommonDivisor(_ values: [Int]) -> Int {
        values.reduce(0) { divisor, value in
            var (divisor, rest) = (divisor, max(value, 0))
            while rest != 0 { (divisor, rest) = (rest, divisor % rest) }
            return divisor
        }
    }
}
