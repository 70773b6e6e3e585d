public import HealthChecks

/// What a service's real servers have to answer.
public enum ServiceChecks: Hashable, Sendable {
    case policy(CheckPolicy)
    /// All of these; never empty.
    case listed([ServiceCheck])

    /// Whether anything is asked at all.
    public var asks: Bool {
        if case .policy(let policy) = self { policy.kind != .none } else { true }
    }
}

/// One check of a service's real servers, and its pace.
public struct ServiceCheck: Hashable, Sendable {
    public var check: Check
    public var via: Check.Via
    /// From the start of one check of a server to the start of the next.
    public var interval: Duration
    /// The same while a verdict is near.
    public var fastInterval: Duration
    /// At most `interval`.
    public var timeout: Duration
    /// Successes in a row that bring a server up.
    public var rise: Int
    /// Failures in a row that take a server down.
    public var fall: Int

    public init(
        _ check: Check, via: Check.Via = .tunnel, interval: Duration = .seconds(1), fastInterval: Duration? = nil,
        timeout: Duration = .milliseconds(700), rise: Int = 2, fall: Int = 2
    ) {
        self.check = check
        self.via = via
        self.interval = interval
        self.fastInterval = fastInterval ?? CheckPolicy.fastInterval(for: interval)
        self.timeout = timeout
        self.rise = rise
        self.fall = fall
    }
}
