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

/// Everything wrong with a configuration at once, so that one run is enough to correct it.
public struct ConfigurationErrors: Error, Equatable, CustomStringConvertible {
    /// Never empty; in the order of the flags.
    public var errors: [ConfigurationError]

    public init(_ errors: [ConfigurationError]) { self.errors = errors }

    /// One line an error.
    public var description: String { errors.map(\.description).joined(separator: "\n") }
}

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

/// The errors met on the way through a configuration, which goes on behind each.
struct Findings {
    /// What there is to say against files that are named.
    let files: NamedFiles
    private(set) var errors: [ConfigurationError] = []

    init(files: NamedFiles = .unseen) { self.files = files }

    mutating func add(_ place: String, _ problem: String, accepted: String) {
        errors.append(ConfigurationError(place: place, problem: problem, accepted: accepted))
    }

    /// The value, or nil after the error has been noted with its place.
    @discardableResult
    mutating func attempt<Value>(_ place: String, _ body: () throws(InvalidValue) -> Value) -> Value? {
        do {
            return try body()
        } catch {
            errors.append(ConfigurationError(place: place, error))
            return nil
        }
    }
}
