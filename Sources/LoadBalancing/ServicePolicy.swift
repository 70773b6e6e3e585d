public import Addresses

/// How a service takes its real servers out and back.
public struct ServicePolicy: Hashable, Sendable {
    /// A real server that is down gets weight 0, instead of being taken out: its connections go on.
    public var inhibits: Bool
    /// A real server that comes back, or is new, has its whole share after so long; nil: at once.
    public var slowStart: Duration?
    /// The half-life of what is held against a real server that falls again and again; nil: nothing is.
    public var flapDamping: Duration?
    public var quorum: Quorum.Rule
    /// Serves while the quorum is lost. It is not checked.
    public var sorryServer: IPAddress?

    public init(
        inhibits: Bool = false, slowStart: Duration? = nil, flapDamping: Duration? = nil,
        quorum: Quorum.Rule = Quorum.Rule(), sorryServer: IPAddress? = nil
    ) {
        self.inhibits = inhibits
        self.slowStart = slowStart
        self.flapDamping = flapDamping
        self.quorum = quorum
        self.sorryServer = sorryServer
    }
}

/// The weight of usable real servers that a service needs, as keepalived has it (update_quorum_state in ipwrapper.c):
/// it is regained at `required` + `hysteresis`, and lost below `required` - `hysteresis`, and at 0.
public struct Quorum: Hashable, Sendable {
    public struct Rule: Hashable, Sendable {
        public var required: Int
        /// Less than `required`.
        public var hysteresis: Int

        public init(required: Int = 1, hysteresis: Int = 0) {
            self.required = required
            self.hysteresis = hysteresis
        }

        public var regainedAt: Int { required + hysteresis }
        /// And at 0.
        public var lostBelow: Int { max(required - hysteresis, 1) }
    }

    public var rule: Rule
    public private(set) var isUp: Bool

    /// As keepalived starts: it is there from `required` + `hysteresis` on.
    public init(_ rule: Rule, weight: Int) {
        self.rule = rule
        isUp = weight >= rule.regainedAt
    }

    /// Of a service that ran already.
    public init(_ rule: Rule, wasUp: Bool) {
        self.rule = rule
        isUp = wasUp
    }

    /// Whether it would be there.
    public func holds(at weight: Int) -> Bool {
        weight >= (isUp ? rule.lostBelow : rule.regainedAt)
    }

    /// True if it was lost or regained.
    public mutating func follow(weight: Int) -> Bool {
        let before = isUp
        isUp = holds(at: weight)
        return isUp != before
    }
}
