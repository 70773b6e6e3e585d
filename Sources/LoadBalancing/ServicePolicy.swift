public import Addresses

/// The rules by which a service takes its real servers out and back.
public struct ServicePolicy: Hashable, Sendable {
    /// Whether a real server that is down gets weight 0 instead of being taken out, so that its connections continue.
    public var inhibits: Bool
    /// The time after which a returning or new real server has its whole share. Nil means at once.
    public var slowStart: Duration?
    /// The half-life of the penalties of flap damping. Nil means no flap damping.
    public var flapDamping: Duration?
    public var quorum: Quorum.Rule
    /// The server that serves while the quorum is lost. The sorry server is not checked. Nil: there is none.
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

/// The weight of usable real servers that a service needs, as in keepalived (update_quorum_state in ipwrapper.c). A
/// quorum is regained at `required` + `hysteresis`. It is lost below `required` - `hysteresis`, and at 0.
public struct Quorum: Hashable, Sendable {
    public struct Rule: Hashable, Sendable {
        public var required: Int
        /// The margin around `required`. It is less than `required`.
        public var hysteresis: Int

        public init(required: Int = 1, hysteresis: Int = 0) {
            self.required = required
            self.hysteresis = hysteresis
        }

        public var regainedAt: Int { required + hysteresis }
        /// The weight below which the quorum is lost. The value is at least 1, so that the weight 0 loses the quorum.
        public var lostBelow: Int { max(required - hysteresis, 1) }
    }

    public var rule: Rule
    public private(set) var isUp: Bool

    /// Creates the quorum of a new service, as keepalived does. The quorum holds from `required` + `hysteresis` on.
    public init(_ rule: Rule, weight: Int) {
        self.rule = rule
        isUp = weight >= rule.regainedAt
    }

    /// Creates the quorum of a service that runs already.
    public init(_ rule: Rule, wasUp: Bool) {
        self.rule = rule
        isUp = wasUp
    }

    /// Returns whether the quorum would hold with this weight.
    public func holds(at weight: Int) -> Bool {
        weight >= (isUp ? rule.lostBelow : rule.regainedAt)
    }

    /// Updates the quorum to a new weight. Returns whether it was lost or regained.
    public mutating func follow(weight: Int) -> Bool {
        let before = isUp
        isUp = holds(at: weight)
        return isUp != before
    }
}
