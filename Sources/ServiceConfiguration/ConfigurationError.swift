internal import LoadBalancing

/// An error in a flag or a file, with its place and the accepted values.
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

    /// The error as a single line. Control characters in quoted values are escaped.
    public var description: String { "\(place): \(problem) (accepted: \(accepted))".onOneLine }
}

/// All errors of a configuration, which one run shows together.
public struct ConfigurationErrors: Error, Equatable, CustomStringConvertible {
    /// The errors in the order of the flags or the file's lines. The list is never empty.
    public var errors: [ConfigurationError]

    public init(_ errors: [ConfigurationError]) { self.errors = errors }

    /// The errors, each on a line of its own.
    public var description: String { errors.map(\.description).joined(separator: "\n") }
}

/// The reason why a text is not a valid value of an option. A `ConfigurationError` adds the text's place.
public struct InvalidValue: Error, Hashable, CustomStringConvertible {
    public var problem: String
    public var accepted: String

    public init(_ problem: String, accepted: String) {
        self.problem = problem
        self.accepted = accepted
    }

    public var description: String { "\(problem) (accepted: \(accepted))" }
}

/// The errors that were found so far. The reader of a configuration goes on after each of them.
struct Findings {
    /// The test of the programs and files that the configuration names.
    let files: NamedFiles
    private(set) var errors: [ConfigurationError] = []

    init(files: NamedFiles = .unseen) { self.files = files }

    mutating func add(_ place: String, _ problem: String, accepted: String) {
        errors.append(ConfigurationError(place: place, problem: problem, accepted: accepted))
    }

    /// Returns the value of `body`. If `body` throws, notes the error with `place` and returns nil.
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
