internal import _StringProcessing

/// A regular expression in Swift's syntax (that of PCRE, by and large), known to be one. It is searched for by Unicode
/// scalars, so that CR LF is two.
///
/// Swift's engine backtracks, and a search cannot be interrupted: a check ends at its deadline all the same, but the
/// search goes on in the thread that is there for such ones.
public struct Pattern: Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) throws(InvalidCheck) {
        self.description = description
        do {
            _ = try Regex(description)
        } catch {
            throw InvalidCheck("\"\(description)\" is no regular expression: \(error)")
        }
    }

    func isFound(in text: String) -> Bool {
        guard let regex = try? Regex(description).matchingSemantics(.unicodeScalar) else { return false }
        return text.firstMatch(of: regex) != nil
    }
}
