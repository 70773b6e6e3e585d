internal import Yams

/// A value of a configuration file, and where it stands.
struct YAMLItem {
    let key: String
    let file: String
    let line: Int?
    let node: Node

    /// `FILE:LINE: KEY`
    var place: String { Self.place(key, line: line, file: file) }

    /// The beginning of errors: the place, with the value where it is one.
    var described: String { node.scalar.map { "\(place) \(AddressText.quoted($0.string))" } ?? place }

    /// The items of a list, or the single value that stands for a list of one.
    var items: [YAMLItem] {
        guard let sequence = node.sequence else { return [self] }
        return sequence.map { YAMLItem(key: key, file: file, line: $0.mark?.line, node: $0) }
    }

    func value<Value>(of option: DirectorOption<Value>) -> SourceItem<Value> {
        guard let scalar = node.scalar else {
            let error = InvalidValue("no single value", accepted: option.syntax.single)
            return SourceItem(place: place, value: .failure(error))
        }
        return SourceItem(
            place: described, value: Result { () throws(InvalidValue) in try option.syntax.parse(scalar.string) })
    }

    static func place(_ key: String, line: Int?, file: String) -> String { "\(file):\(line ?? 1): \(key)" }
}
