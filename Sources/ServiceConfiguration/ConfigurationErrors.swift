/// Everything wrong with a configuration at once, so that one run is enough to correct it.
public struct ConfigurationErrors: Error, Equatable, CustomStringConvertible {
    /// Never empty; in the order of the flags.
    public var errors: [ConfigurationError]

    public init(_ errors: [ConfigurationError]) { self.errors = errors }

    /// One line an error.
    public var description: String { errors.map(\.description).joined(separator: "\n") }
}
