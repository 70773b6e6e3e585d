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
