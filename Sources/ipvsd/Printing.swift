import LoadBalancing

/// Prints on standard output, in place of Swift's function of that name. Control characters become escapes, since texts
/// may come from servers and files.
func print(_ value: some CustomStringConvertible, terminator: String = "\n") {
    Swift.print(value.description.onItsLines, terminator: terminator)
}

extension String {
    /// Returns the text with blanks behind it, up to the width of a column.
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
