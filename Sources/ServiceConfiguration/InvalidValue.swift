/// Why a text is no value of its kind. Whoever knows where the text stood makes a `ConfigurationError` of it.
public struct InvalidValue: Error, Hashable, CustomStringConvertible {
    public var problem: String
    public var accepted: String

    public init(_ problem: String, accepted: String) {
        self.problem = problem
        self.accepted = accepted
    }

    public var description: String { "\(problem) (accepted: \(accepted))" }
}
