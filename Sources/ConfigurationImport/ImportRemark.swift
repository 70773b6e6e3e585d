internal import LoadBalancing
internal import ServiceConfiguration

/// Something that an import did not take over as it was.
public struct ImportRemark: Hashable, Sendable, CustomStringConvertible {
    public enum Kind: String, Hashable, Sendable {
        /// It is not in the configuration, and something behaves otherwise without it.
        case left = "not carried over"
        /// It is there in another way, and something behaves otherwise by it.
        case changed
        /// It is not there, or otherwise, and nothing depends on it.
        case note
    }

    public let kind: Kind
    /// `FILE:LINE`
    public let place: String
    /// What it is, what that means and what to do instead.
    public let text: String

    /// One line, whatever the file holds that it quotes.
    public var description: String { "\(place): \(kind.rawValue): \(text)".onOneLine }

    /// Whether the configuration does not do what the source did.
    public var changesBehaviour: Bool { kind != .note }
}

/// One, with the order of its place.
struct PlacedRemark: Hashable {
    let kind: ImportRemark.Kind
    let place: SourcePlace
    let text: String
    /// Enough of it where it stands behind a real server; nil: all of it, above.
    let brief: String?

    init(_ kind: ImportRemark.Kind, _ place: SourcePlace, _ text: String, brief: String? = nil) {
        self.kind = kind
        self.place = place
        self.text = text
        self.brief = brief
    }

    /// The remarks, each told once: of those that say the same, the first names the places of the others.
    static func joined(_ remarks: [PlacedRemark]) -> [PlacedRemark] {
        struct Saying: Hashable {
            let kind: ImportRemark.Kind
            let text: String
            let brief: String?
        }
        var places: [Saying: [SourcePlace]] = [:]
        var sayings: [Saying] = []
        for remark in remarks {
            let saying = Saying(kind: remark.kind, text: remark.text, brief: remark.brief)
            if places[saying] == nil { sayings.append(saying) }
            if places[saying]?.contains(remark.place) != true { places[saying, default: []].append(remark.place) }
        }
        return sayings.compactMap { saying in
            guard let all = places[saying]?.sorted(), let first = all.first else { return nil }
            let others = all.dropFirst().prefix(5).map { $0.file == first.file ? "\($0.line)" : "\($0)" }
            let more = all.count > 6 ? " and \(all.count - 6) more" : ""
            let also = others.isEmpty ? "" : " (also \(others.joined(separator: ", "))\(more))"
            return PlacedRemark(saying.kind, first, saying.text + also, brief: saying.brief)
        }
    }

    var remark: ImportRemark { ImportRemark(kind: kind, place: place.description, text: text) }
}

/// Where something stands in what is imported.
struct SourcePlace: Hashable, Comparable, CustomStringConvertible {
    let file: String
    /// From 1.
    let line: Int
    /// Of all lines, in the order in which they are read: included files stand where they are included.
    let order: Int

    var description: String { "\(file):\(line)" }

    static func < (one: SourcePlace, other: SourcePlace) -> Bool { one.order < other.order }
}

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
