public import HealthChecks

/// The checks of a service's real servers.
public enum ServiceChecks: Hashable, Sendable {
    case policy(CheckPolicy)
    /// A list of checks, all of which have to pass. It is never empty.
    case listed([ServiceCheck])

    /// Whether there is any check.
    public var asks: Bool {
        if case .policy(let policy) = self { policy.kind != .none } else { true }
    }
}

/// One check of a service's real servers. The members of `pace` can be read directly.
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

/// The check of a service without a list of checks. The members of `pace` can be read directly.
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
    /// The kind of a check. Flags and files write "auto", "tcp", "tcp:8080", "ping" or "none".
    public enum Kind: Hashable, Sendable, CustomStringConvertible {
        /// A connect to each TCP port of the service, or an echo request if it has none. An any-port service gets an
        /// echo request, and connects to the ports that clients use.
        case auto
        /// A TCP connect to this port. Nil means the port of the service's first listener.
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

/// The times between checks, and the numbers of answers that make a verdict.
public struct CheckPace: Hashable, Sendable {
    /// The time from the start of one check of a real server to the start of the next.
    public var interval: Duration
    /// The interval while a verdict is near: after a first failure of a real server that is up, or a first success of a
    /// real server that is down.
    public var fastInterval: Duration
    /// The time that a check waits for its answer. It is at most `interval`.
    public var timeout: Duration
    /// The number of successes in a row that bring a real server up.
    public var rise: Int
    /// The number of failures in a row that take a real server down.
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

    /// Returns the default fast interval in whole milliseconds: three tenths of the interval, and at least 10 ms.
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
