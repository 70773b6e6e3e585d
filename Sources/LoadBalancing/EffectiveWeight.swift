/// The effective weight of a real server. No other code decides it.
public struct EffectiveWeight: Hashable, Sendable {
    /// The conditions that decide a real server's effective weight.
    public struct Condition: Hashable, Sendable {
        public var configured: UInt16
        /// Whether the server's checks pass, and flap damping does not hold the server out.
        public var isUp: Bool
        /// The weight that the server's checks requested instead of the configured one, or nil for none.
        public var asked: UInt16?
        /// Whether an operator drains the server. It then gets no new connections, healthy or not.
        public var isDrained: Bool
        /// The tenths of the server's share that slow start allows, 1 to 10.
        public var tenths: Int
        /// Whether the server counts for the quorum. False for a server that serves although a default check fails, as
        /// no server of the service has passed that check yet.
        public var isCounted = true

        public init(
            configured: UInt16, isUp: Bool = true, asked: UInt16? = nil, isDrained: Bool = false,
            tenths: Int = SlowStart.whole
        ) {
            self.configured = configured
            self.isUp = isUp
            self.asked = asked
            self.isDrained = isDrained
            self.tenths = tenths
        }

        /// The weight without slow start, or 0 while the server is down or drained.
        public var serving: UInt16 { isUp && !isDrained ? asked ?? configured : 0 }

        /// The weight that the server adds to its service's quorum.
        public var usable: UInt16 { isCounted ? serving : 0 }
    }

    /// The place of a server in the schedulers' tables.
    public enum Standing: Hashable, Sendable {
        /// The server is in the tables with its weight. Weight 0 quiesces it, and its persistent clients stay.
        case listed
        /// The server is down, and in no table. `ServerLoss` decides about its connections.
        case down
        /// The server is in no table, and persistent clients leave it. Its TCP connections continue, and
        /// `ServerRemoval` decides about its datagrams. An unneeded sorry server has this standing, and so have real
        /// servers that the sorry server replaces.
        case standby
    }

    public let standing: Standing
    /// The weight without slow start, unless `isScaled`. It is 0 for a server that is not listed.
    public let weight: UInt16
    /// The tenths of the weight that count. All ten count after the slow start.
    public let tenths: Int
    /// Whether the weight was read from the packet program's tables. Such a weight already contains the slow start.
    public let isScaled: Bool

    public static let down = EffectiveWeight(.down)
    public static let standby = EffectiveWeight(.standby)

    public static func listed(
        weight: UInt16, tenths: Int = SlowStart.whole, isScaled: Bool = false
    ) -> EffectiveWeight {
        EffectiveWeight(.listed, weight: weight, tenths: tenths, isScaled: isScaled)
    }

    private init(
        _ standing: Standing, weight: UInt16 = 0, tenths: Int = SlowStart.whole, isScaled: Bool = false
    ) {
        self.standing = standing
        self.weight = weight
        self.tenths = tenths
        self.isScaled = isScaled
    }

    /// Creates the effective weight of a server. With `inhibits`, a server that is down gets weight 0 instead of
    /// leaving the tables. `isReplaced` is true while the service's sorry server serves in its place.
    public init(of server: Condition, inhibits: Bool = false, isReplaced: Bool = false) {
        switch server {
        case _ where !server.isUp && !inhibits: self = .down
        case _ where isReplaced: self = .standby
        case _ where !server.isUp || server.isDrained: self = .listed(weight: 0)
        default: self = .listed(weight: server.asked ?? server.configured, tenths: server.tenths)
        }
    }

    public static func sorryServer(serves: Bool) -> EffectiveWeight {
        serves ? .listed(weight: 1) : .standby
    }

    /// The weight that `status` shows, reduced by slow start.
    public var shown: Double { Double(Int(weight) * tenths) / Double(SlowStart.whole) }
}

/// The weights that the schedulers of a service use.
extension VirtualService {
    /// Whether slow start reduces the share of a real server with a weight above 0.
    public var isStartingSlowly: Bool {
        scheduler.hasShares
            && servers.contains { $0.effective.tenths < SlowStart.whole && $0.effective.weight > 0 }
    }

    /// The weights of `servers`, in their order. While a server starts slowly, all weights are multiplied by up to ten,
    /// within 16 bits. Tenths of weights are then whole numbers. rr and lc ignore weights, so each weight above 0
    /// counts as 1 before that. sh gets the weights as they are, and gives such a server tenths of its buckets instead.
    public var schedulerWeights: [UInt16] {
        let weights = servers.map(\.effective.weight)
        guard isStartingSlowly, scheduler != .sh, !servers.contains(where: \.effective.isScaled) else { return weights }
        let shares = scheduler.ignoresWeights ? weights.map { min($0, 1) } : weights
        let factor = max(1, min(SlowStart.whole, Int(UInt16.max) / Int(max(shares.max() ?? 1, 1))))
        return zip(shares, servers).map { share, server in
            share == 0 ? 0 : UInt16(max(1, Int(share) * factor * server.effective.tenths / SlowStart.whole))
        }
    }

    /// The scheduler that uses `schedulerWeights`. While a real server starts slowly, schedulers with weights replace
    /// lc and rr. sed replaces nq, which would give every new connection to the idle server that came back.
    public var schedulerNow: Scheduler {
        switch scheduler {
        case .lc where isStartingSlowly: .wlc
        case .nq where isStartingSlowly: .sed
        case .rr where isStartingSlowly: .wrr
        default: scheduler
        }
    }
}

extension Scheduler {
    /// Whether the scheduler only distinguishes weight 0 from other weights.
    public var ignoresWeights: Bool { self == .rr || self == .lc }
}

/// The slow start of a real server that comes back. Its share of new connections grows in ten steps, the first at once.
public enum SlowStart {
    /// The number of tenths of a whole share.
    public static let whole = 10

    /// Returns the tenths of its share that a server has when `elapsed` has passed since its return. The server has all
    /// ten from `duration` on.
    public static func tenths(after elapsed: Duration, of duration: Duration) -> Int {
        (1...whole).last { elapsed >= time(ofTenths: $0, of: duration) } ?? 1
    }

    /// Returns the time from a server's return until it gets this number of tenths.
    public static func time(ofTenths tenths: Int, of duration: Duration) -> Duration {
        duration * (tenths - 1) / (whole - 1)
    }
}

extension Scheduler {
    /// Whether a real server's share of new connections can grow. The other schedulers prefer one server, whatever
    /// share its weight is of the sum of weights.
    public var hasShares: Bool {
        switch self {
        case .rr, .wrr, .lc, .wlc, .sed, .nq, .sh, .mh, .twos: true
        case .dh, .fo, .ovf, .lblc, .lblcr: false
        }
    }
}
