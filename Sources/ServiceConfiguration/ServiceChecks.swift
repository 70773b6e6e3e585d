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
