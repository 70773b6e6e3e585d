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

/// One check of a service's real servers. What is said of its pace is said of it.
@dynamicMemberLookup
public struct ServiceCheck: Hashable, Sendable {
    public var check: Check
    public var via: Check.Via
    public var pace: CheckPace

    public init(_ check: Check, via: Check.Via = .tunnel, pace: CheckPace = CheckPace()) {
        self.check = check
        self.via = via
        self.pace = pace
    }

    public subscript<Value>(dynamicMember path: KeyPath<CheckPace, Value>) -> Value { pace[keyPath: path] }
}

/// How real servers' health is checked. What is said of its pace is said of it.
@dynamicMemberLookup
public struct CheckPolicy: Hashable, Sendable {
    public var kind: Kind
    public var pace: CheckPace

    public init(kind: Kind = .auto, pace: CheckPace = CheckPace()) {
        self.kind = kind
        self.pace = pace
    }

    public subscript<Value>(dynamicMember path: KeyPath<CheckPace, Value>) -> Value { pace[keyPath: path] }
}

extension CheckPolicy {
    /// What a check does; in flags and files "auto", "tcp", "tcp:8080", "ping" or "none".
    public enum Kind: Hashable, Sendable, CustomStringConvertible {
        /// A connect to a service's port; for an any-port service an echo and connects to the ports clients use.
        case auto
        /// A connect to this port, or to the service's own port when nil.
        case tcp(port: UInt16?)
        case ping
        case none

        static let accepted = "auto, tcp, tcp:PORT, ping or none"

        public init(parsing text: String) throws(InvalidValue) {
            switch text {
            case "auto": self = .auto
            case "tcp": self = .tcp(port: nil)
            case "ping": self = .ping
            case "none": self = .none
            case _ where text.hasPrefix("tcp:"):
                self = .tcp(port: try AddressText.port(text.dropFirst("tcp:".count)))
            default:
                throw InvalidValue("no such check", accepted: Self.accepted)
            }
        }

        public var description: String {
            switch self {
            case .auto: "auto"
            case .tcp(nil): "tcp"
            case .tcp(let port?): "tcp:\(port)"
            case .ping: "ping"
            case .none: "none"
            }
        }
    }
}

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
