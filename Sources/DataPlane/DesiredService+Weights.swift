public import LoadBalancing

/// The weights that the schedulers go by.
extension DesiredService {
    /// A real server with a weight has but a part of its share now.
    public var isStartingSlowly: Bool {
        configured.scheduler.hasShares && servers.contains { $0.effective.tenths < SlowStart.whole && $0.weight > 0 }
    }

    /// The servers' own. While one starts slowly, as many times larger as it takes to tell its part, and equal for
    /// schedulers that know no weights. sh, which lays its buckets out by weights, has parts of buckets instead.
    public var schedulerWeights: [UInt16] {
        let scheduler = configured.scheduler
        let servers = servers
        let weights = servers.map(\.weight)
        guard isStartingSlowly, scheduler != .sh, !hasSchedulerWeights else { return weights }
        let shares = scheduler.ignoresWeights ? weights.map { min($0, 1) } : weights
        let factor = max(1, min(SlowStart.whole, Int(UInt16.max) / Int(max(shares.max() ?? 1, 1))))
        return zip(shares, servers).map { share, server in
            share == 0 ? 0 : UInt16(max(1, Int(share) * factor * server.effective.tenths / SlowStart.whole))
        }
    }

    /// The scheduler whose choice goes by these weights: lc's goes by none, and nq gives an idle server every new
    /// connection, which one that comes back is.
    public var schedulerNow: Scheduler {
        switch configured.scheduler {
        case .lc where isStartingSlowly: .wlc
        case .nq where isStartingSlowly: .sed
        case .rr where isStartingSlowly: .wrr
        default: configured.scheduler
        }
    }
}

extension Scheduler {
    /// But for weight 0.
    public var ignoresWeights: Bool { self == .rr || self == .lc }
}
