/// How real servers' health is checked.
public struct CheckPolicy: Hashable, Sendable, Codable {
    public var kind: Kind
    /// From the start of one check of a server to the start of the next.
    public var interval: Duration
    /// How long a check waits for its answer; at most `interval`.
    public var timeout: Duration
    /// Successes in a row that bring a server up.
    public var rise: Int
    /// Failures in a row that take a server down.
    public var fall: Int

    public init(
        kind: Kind = .auto, interval: Duration = .seconds(1), timeout: Duration = .milliseconds(700), rise: Int = 2,
        fall: Int = 2
    ) {
        self.kind = kind
        self.interval = interval
        self.timeout = timeout
        self.rise = rise
        self.fall = fall
    }

    private enum CodingKeys: String, CodingKey {
        case kind
        case interval = "intervalMilliseconds"
        case timeout = "timeoutMilliseconds"
        case rise
        case fall
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        kind = try container.decode(Kind.self, forKey: .kind)
        interval = .milliseconds(try container.decode(Int.self, forKey: .interval))
        timeout = .milliseconds(try container.decode(Int.self, forKey: .timeout))
        rise = try container.decode(Int.self, forKey: .rise)
        fall = try container.decode(Int.self, forKey: .fall)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(kind, forKey: .kind)
        try container.encode(DurationText.milliseconds(interval), forKey: .interval)
        try container.encode(DurationText.milliseconds(timeout), forKey: .timeout)
        try container.encode(rise, forKey: .rise)
        try container.encode(fall, forKey: .fall)
    }
}
