/// What a real server counts for, of all that bears on it: the one place where that is decided.
public struct EffectiveWeight: Hashable, Sendable {
    /// What is known of a real server.
    public struct Condition: Hashable, Sendable {
        public var configured: UInt16
        /// What its checks say, and damping after them.
        public var isUp: Bool
        /// The weight that its checks ask for instead of the configured one.
        public var asked: UInt16?
        /// By hand: it gets no new connections, healthy or not.
        public var isDrained: Bool
        /// How far its slow start is.
        public var tenths: Int
        /// False where nothing speaks for it, and it serves all the same.
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

        /// The weight by which it serves, slow start or not.
        public var serving: UInt16 { isUp && !isDrained ? asked ?? configured : 0 }

        /// What it counts toward its service's quorum.
        public var usable: UInt16 { isCounted ? serving : 0 }
    }

    /// How the schedulers have the server.
    public enum Standing: Hashable, Sendable {
        /// In their tables, by its weight; weight 0 quiesces it: its persistent clients stay.
        case listed
        /// It is out. What becomes of its connections says `ServerLoss`.
        case down
        /// In no table, and persistent clients leave it; its TCP connections go on, and its datagrams do as
        /// `ServerRemoval` says. So are a sorry server that is not needed, and the real servers whose place it has.
        case standby
    }

    public let standing: Standing
    /// Without slow start, unless `isScaled`; 0 where it is not listed.
    public let weight: UInt16
    /// So many tenths of it count; all ten where slow start is over.
    public let tenths: Int
    /// The weight is the one that a scheduler's table has, with the slow start in it.
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

    /// `inhibits`: a server that is down gets weight 0, instead of being taken out. `isReplaced`: the service's sorry
    /// server serves in its place.
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

    /// As `status` shows it: the weight, or what slow start leaves of it.
    public var shown: Double { Double(Int(weight) * tenths) / Double(SlowStart.whole) }
}

/// The weights that the schedulers of a service go by.
extension VirtualService {
    /// A real server with a weight has only a part of its share now.
    public var isStartingSlowly: Bool {
        scheduler.hasShares
            && servers.contains { $0.effective.tenths < SlowStart.whole && $0.effective.weight > 0 }
    }

    /// The weights of `servers`, in their order. While one of them starts slowly, all are multiplied by up to ten, as far
    /// as 16 bits allow, so that parts of weights are whole numbers. rr and lc, which know no weights, then begin with
    /// equal ones. sh, which lays its buckets out by weights, has parts of buckets instead.
    public var schedulerWeights: [UInt16] {
        let weights = servers.map(\.effective.weight)
        guard isStartingSlowly, scheduler != .sh, !servers.contains(where: \.effective.isScaled) else { return weights }
        let shares = scheduler.ignoresWeights ? weights.map { min($0, 1) } : weights
        let factor = max(1, min(SlowStart.whole, Int(UInt16.max) / Int(max(shares.max() ?? 1, 1))))
        return zip(shares, servers).map { share, server in
            share == 0 ? 0 : UInt16(max(1, Int(share) * factor * server.effective.tenths / SlowStart.whole))
        }
    }

    /// The scheduler that chooses by `schedulerWeights`. While a real server starts slowly, lc and rr give way to schedulers
    /// that know weights. nq gives way to sed, as it would give the idle server that came back every new connection.
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
    /// The scheduler asks of a weight only whether it is 0.
    public var ignoresWeights: Bool { self == .rr || self == .lc }
}

/// A real server that comes back gets its share of new connections in ten steps, of which the first is there at once.
public enum SlowStart {
    /// Tenths of a share.
    public static let whole = 10

    /// How many tenths of its share a server has at this time after it came back; all of them from `duration` on.
    public static func tenths(after elapsed: Duration, of duration: Duration) -> Int {
        (1...whole).last { elapsed >= time(ofTenths: $0, of: duration) } ?? 1
    }

    /// When, after it came back, the server has so many tenths.
    public static func time(ofTenths tenths: Int, of duration: Duration) -> Duration {
        duration * (tenths - 1) / (whole - 1)
    }
}

extension Scheduler {
    /// Whether a real server's share of new connections can grow. Those without have no shares: they prefer one server
    /// to the others, whatever its weight's part.
    public var hasShares: Bool {
        switch self {
        case .rr, .wrr, .lc, .wlc, .sed, .nq, .sh, .mh, .twos: true
        case .dh, .fo, .ovf, .lblc, .lblcr: false
        }
    }
}
