internal import LoadBalancing

/// One thing wrong in what an operator wrote: where, what, and what would be accepted there.
public struct ConfigurationError: Error, Hashable, CustomStringConvertible {
    /// The flag with its value, or a file's line with a key and its value.
    public var place: String
    public var problem: String
    public var accepted: String

    public init(place: String, problem: String, accepted: String) {
        self.place = place
        self.problem = problem
        self.accepted = accepted
    }

    public init(place: String, _ value: InvalidValue) {
        self.init(place: place, problem: value.problem, accepted: value.accepted)
    }

    /// One line, whatever the values hold that it quotes.
    public var description: String { "\(place): \(problem) (accepted: \(accepted))".onOneLine }
}
