internal import LoadBalancing
internal import ServiceConfiguration

/// A remark on a part of the source that the configuration lacks or changes.
public struct ImportRemark: Hashable, Sendable, CustomStringConvertible {
    public enum Kind: String, Hashable, Sendable {
        /// The configuration lacks the part, and behaves differently without it.
        case left = "not carried over"
        /// The configuration has the part in another form, and behaves differently.
        case changed
        /// The configuration lacks the part or has it in another form, and behaves the same.
        case note
    }

    public let kind: Kind
    /// The place, as `FILE:LINE`.
    public let place: String
    /// The text, which names the part, the consequence and the remedy.
    public let text: String

    /// The remark in one line. Control characters of quoted values are escaped.
    public var description: String { "\(place): \(kind.rawValue): \(text)".onOneLine }

    /// Whether the configuration behaves differently from the source.
    public var changesBehaviour: Bool { kind != .note }
}

/// A remark whose place can be compared.
struct PlacedRemark: Hashable {
    let kind: ImportRemark.Kind
    let place: SourcePlace
    let text: String
    /// A shorter text, which stands behind a real server on the same line of the configuration file. Nil means that the
    /// whole text stands above that line.
    let brief: String?

    init(_ kind: ImportRemark.Kind, _ place: SourcePlace, _ text: String, brief: String? = nil) {
        self.kind = kind
        self.place = place
        self.text = text
        self.brief = brief
    }

    /// Returns each remark once. Equal remarks become one at the first place, whose text names the other places.
    static func joined(_ remarks: [PlacedRemark]) -> [PlacedRemark] {
        struct Content: Hashable {
            let kind: ImportRemark.Kind
            let text: String
            let brief: String?
        }
        var places: [Content: [SourcePlace]] = [:]
        var contents: [Content] = []
        for remark in remarks {
            let content = Content(kind: remark.kind, text: remark.text, brief: remark.brief)
            if places[content] == nil { contents.append(content) }
            if places[content]?.contains(remark.place) != true { places[content, default: []].append(remark.place) }
        }
        return contents.compactMap { content in
            guard let all = places[content]?.sorted(), let first = all.first else { return nil }
            let others = all.dropFirst().prefix(5).map { $0.file == first.file ? "\($0.line)" : "\($0)" }
            let more = all.count > 6 ? " and \(all.count - 6) more" : ""
            let also = others.isEmpty ? "" : " (also \(others.joined(separator: ", "))\(more))"
            return PlacedRemark(content.kind, first, content.text + also, brief: content.brief)
        }
    }

    var remark: ImportRemark { ImportRemark(kind: kind, place: place.description, text: text) }
}

/// The place of a line in the source.
struct SourcePlace: Hashable, Comparable, CustomStringConvertible {
    let file: String
    /// The number of the line in its file, from 1.
    let line: Int
    /// The number of the line among all lines that were read. The lines of an included file count where it is included.
    let order: Int

    var description: String { "\(file):\(line)" }

    static func < (one: SourcePlace, other: SourcePlace) -> Bool { one.order < other.order }
}

/// The errors of a source, shared by all of its parsers. Reading goes on after each error.
final class ImportErrors {
    private(set) var errors: [(place: SourcePlace, error: ConfigurationError)] = []

    func attempt(_ place: SourcePlace, _ body: () throws(InvalidValue) -> Void) {
        do { try body() } catch { add(place, error) }
    }

    func add(_ place: SourcePlace, _ error: InvalidValue) {
        errors.append((place, ConfigurationError(place: "\(place)", error)))
    }

    /// Throws the errors in the source's order, if there are any.
    func check() throws(ConfigurationErrors) {
        guard !errors.isEmpty else { return }
        let sorted = errors.enumerated().sorted { ($0.element.place, $0.offset) < ($1.element.place, $1.offset) }
        throw ConfigurationErrors(sorted.map(\.element.error))
    }
}
