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
