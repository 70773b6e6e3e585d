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
