/// How often a check is asked, and how many answers it takes to a verdict.
public struct CheckPace: Hashable, Sendable {
    /// From the start of one check of a server to the start of the next.
    public var interval: Duration
    /// The same while a verdict is near: after a first failure of a server that is up, or a first success of one that is
    /// down.
    public var fastInterval: Duration
    /// How long a check waits for its answer; at most `interval`.
    public var timeout: Duration
    /// Successes in a row that bring a server up.
    public var rise: Int
    /// Failures in a row that take a server down.
    public var fall: Int

    public init(
        interval: Duration = .seconds(1), fastInterval: Duration? = nil, timeout: Duration = .milliseconds(700),
        rise: Int = 2, fall: Int = 2
    ) {
        self.interval = interval
        self.fastInterval = fastInterval ?? Self.fastInterval(for: interval)
        self.timeout = timeout
        self.rise = rise
        self.fall = fall
    }

    /// Where it is not said, in whole milliseconds: 0.3 s for checks every second.
    static func fastInterval(for interval: Duration) -> Duration {
        .milliseconds(max(10, DurationText.milliseconds(interval) * 3 / 10))
    }

    /// Refuses a time-out or a faster interval that is longer than the interval.
    static func validate(_ duration: Duration, within interval: Duration) throws(InvalidValue) {
        guard duration > interval else { return }
        let shortest = DurationText.format(DurationText.accepted.lowerBound)
        throw InvalidValue(
            "longer than the check interval",
            accepted: "\(shortest) to the interval, \(DurationText.format(interval))")
    }
}
