internal import ServiceConfiguration

/// The errors met on the way through what is imported, which goes on behind each. One is shared by all who read a source.
final class ImportErrors {
    private(set) var errors: [(place: SourcePlace, error: ConfigurationError)] = []

    func attempt(_ place: SourcePlace, _ body: () throws(InvalidValue) -> Void) {
        do { try body() } catch { add(place, error) }
    }

    func add(_ place: SourcePlace, _ error: InvalidValue) {
        errors.append((place, ConfigurationError(place: "\(place)", error)))
    }

    /// In the source's order.
    func check() throws(ConfigurationErrors) {
        guard !errors.isEmpty else { return }
        let sorted = errors.enumerated().sorted { ($0.element.place, $0.offset) < ($1.element.place, $1.offset) }
        throw ConfigurationErrors(sorted.map(\.element.error))
    }
}
