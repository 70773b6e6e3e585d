internal import PacketPrograms

/// The rings of the rr and wrr schedulers: the order of turns, through which a counter steps.
///
/// Kernel IPVS computes each step from a mark (ip_vs_wrr.c: `cw`, `mw`, `di`). Its order is periodic. One period fits
/// in a table, of which the packet path reads one entry.
public enum WeightedRoundRobin {
    /// The largest number of slots. Longer rings would cost more memory than exactness is worth.
    public static let longestRing = Int(IPVSD_RING_LIMIT)

    /// Returns one period of ip_vs_wrr_schedule's order of a new service, as indices into `weights`.
    ///
    /// `di` is the weights' greatest common divisor (ip_vs_wrr_gcd_weight). A pass visits, in list order, the servers
    /// whose weight is at least `cw`. `cw` starts at the largest weight (ip_vs_wrr_max_weight), and each pass lowers it
    /// by `di`. The kernel's own `mw` and `cw` are lower by `di - 1`. They select the same servers, since all weights
    /// are multiples of `di`. The difference matters only to weights that change under the scheduler.
    ///
    /// The length is the sum of the weights / `di`. Servers of weight 0 do not appear, and the ring is empty if all
    /// weights are 0. `scale(_:to:)` approximates a period longer than `limit`.
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

    /// Returns the rr scheduler's ring: every server with a positive weight once (ip_vs_rr_schedule skips weight 0).
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

    /// Returns positive weights with the sum `slots`, in proportion to `weights`, whose sum is larger.
    ///
    /// A server whose exact share is below one slot gets one slot. The others divide the remaining slots in proportion
    /// to their weights. Each first gets its whole slots. The slots that are left go to the largest remainders, one
    /// each, and to the earlier server among equals.
    ///
    /// Let the part of a server be weight / sum, over the servers with more than one slot. Its slots then differ from
    /// weight * slots / sum by less than 1, plus its part of the number of raised servers. With more servers than
    /// slots, the heaviest servers have one slot each.
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

    /// Returns the greatest common divisor of the positive values, or 0 if there are none.
    private static func greatestCommonDivisor(_ values: [Int]) -> Int {
        values.reduce(0) { divisor, value in
            var (divisor, rest) = (divisor, max(value, 0))
            while rest != 0 { (divisor, rest) = (rest, divisor % rest) }
            return divisor
        }
    }
}
