/// How real servers' health is checked.
public struct CheckPolicy: Hashable, Sendable, Codable {
    public var kind: Kind
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
        kind: Kind = .auto, interval: Duration = .seconds(1), fastInterval: Duration? = nil,
        timeout: Duration = .milliseconds(700), rise: Int = 2, fall: Int = 2
    ) {
        self.kind = kind
        self.interval = interval
        self.fastInterval = fastInterval ?? Self.fastInterval(for: interval)
        self.timeout = timeout
        self.rise = rise
        self.fall = fall
    }

    /// Where it is not said, in whole milliseconds: 0.3 s for checks every second.
    public static func fastInterval(for interval: Duration) -> Duration {
        .milliseconds(max(10, DurationText.milliseconds(interval) * 3 / 10))
    }

    /// A time-out, or a faster interval.
    static func duration(_ text: String, within interval: Duration) throws(InvalidValue) -> Duration {
        let duration = try DurationText.parse(text)
        guard duration <= interval else {
            let shortest = DurationText.format(DurationText.accepted.lowerBound)
            throw InvalidValue(
                "longer than the check interval",
                accepted: "\(shortest) to the interval, \(DurationText.format(interval))")
        }
        return duration
    }

    private enum CodingKeys: String, CodingKey {
        case kind
        case interval = "intervalMilliseconds"
        case fastInterval = "fastIntervalMilliseconds"
        case timeout = "timeoutMilliseconds"
        case rise
        case fall
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        kind = try container.decode(Kind.self, forKey: .kind)
        interval = .milliseconds(try container.decode(Int.self, forKey: .interval))
        fastInterval = .milliseconds(try container.decode(Int.self, forKey: .fastInterval))
        timeout = .milliseconds(try container.decode(Int.self, forKey: .timeout))
        rise = try container.decode(Int.self, forKey: .rise)
        fall = try container.decode(Int.self, forKey: .fall)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(kind, forKey: .kind)
        try container.encode(DurationText.milliseconds(interval), forKey: .interval)
        try container.encode(DurationText.milliseconds(fastInterval), forKey: .fastInterval)
        try container.encode(DurationText.milliseconds(timeout), forKey: .timeout)
        try container.encode(rise, forKey: .rise)
        try container.encode(fall, forKey: .fall)
    }
}
