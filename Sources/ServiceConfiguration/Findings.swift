/// The errors met on the way through a configuration, which goes on behind each.
struct Findings {
    private(set) var errors: [ConfigurationError] = []

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
