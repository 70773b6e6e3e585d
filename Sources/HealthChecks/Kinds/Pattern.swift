/// A valid regular expression of PCRE2 (pcre2pattern(3)). It is matched against bytes, as in keepalived. It is matched
/// against Unicode characters if it contains characters beyond ASCII, or begins with `(*UTF)`.
public struct Pattern: Hashable, Sendable, CustomStringConvertible {
    public let description: String
    private let expression: Expression

    public init(_ description: String) throws(InvalidCheck) {
        let depth = ClassScan(description).depth
        guard depth <= Expression.nestLimit else {
            throw InvalidCheck(
                "\"\(description.prefix(40))…\" is no regular expression: \(depth) nested [, \(Expression.nestLimit) at most"
            )
        }
        self.description = description
        do { expression = try Expression(description) } catch {
            throw InvalidCheck("\"\(description.prefix(200))\" is no regular expression: \(error.reason)")
        }
    }

    public static func == (one: Pattern, other: Pattern) -> Bool { one.description == other.description }

    public func hash(into hasher: inout Hasher) { hasher.combine(description) }

    /// The result of one check's search. All expressions of the check share `SearchTime.limit`.
    enum Search: Equatable {
        case found
        case lacks(Pattern)
        /// The pattern during whose search the shared limit was exceeded.
        case tooCostly(Pattern)
        case noMemory
    }

    /// Returns the result of a search for all of the patterns.
    static func search(_ body: [UInt8], for patterns: [Pattern]) -> Search {
        var time = SearchTime()
        for pattern in patterns {
            switch pattern.expression.search(body, within: &time) {
            case .found: continue
            case .absent: return .lacks(pattern)
            case .tooCostly: return .tooCostly(pattern)
            case .noMemory: return .noMemory
            }
        }
        return .found
    }

    /// The differences from Swift's Regex, with which ipvsd 0.1 searched, that may change the expression's meaning.
    public var changes: [String] {
        let scan = ClassScan(description)
        var changes: [String] = []
        if scan.hasSets { changes.append("in a class, [, &&, -- and ~~ are characters") }
        if scan.hasLineEnds {
            changes.append(
                scan.isMultiline ? "lines end at LF alone: \\r?$ ends one of CR LF" : "$ matches before a last LF, too")
        }
        if scan.hasDots, !scan.isSingleLine { changes.append(". also matches CR") }
        if scan.hasCharacterTypes, description.utf8.allSatisfy({ $0 < 128 }), !description.contains("(*UCP)") {
            changes.append("\\w, \\d, \\s, \\b and [:alpha:] know ASCII alone, unless (*UTF)(*UCP) is put before it")
        }
        return changes
    }
}

/// The constructs of an expression that PCRE2 and Swift's Regex read differently.
private struct ClassScan {
    /// The depth of nested classes, as Swift reads them.
    private(set) var depth = 0
    private(set) var hasSets = false
    private(set) var hasLineEnds = false
    private(set) var isMultiline = false
    private(set) var hasDots = false
    private(set) var isSingleLine = false
    private(set) var hasCharacterTypes = false

    init(_ expression: String) {
        let bytes = Array(expression.utf8)
        var (level, place) = (0, 0)
        func follows(_ text: String) -> Bool { bytes[place...].starts(with: text.utf8) }
        while place < bytes.count {
            let byte = bytes[place]
            if follows("\\Q") {
                while place < bytes.count, !follows("\\E") { place += 1 }
            } else if byte == UInt8(ascii: "\\") {
                place += 1
                if place < bytes.count, "wWdDsSbB".utf8.contains(bytes[place]) { hasCharacterTypes = true }
            } else if byte == UInt8(ascii: "[") {
                if level > 0, let end = Self.endOfPOSIXClass(in: bytes, at: place) {
                    hasCharacterTypes = true
                    place = end
                } else {
                    if level > 0 { hasSets = true }
                    level += 1
                    depth = max(depth, level)
                    // A closing bracket in the first place is a character of the class.
                    if follows("[^]") { place += 2 } else if follows("[]") { place += 1 }
                }
            } else if level > 0 {
                if byte == UInt8(ascii: "]") { level -= 1 }
                if follows("&&") || follows("--") || follows("~~") { hasSets = true }
            } else if byte == UInt8(ascii: "$") {
                hasLineEnds = true
            } else if byte == UInt8(ascii: ".") {
                hasDots = true
            } else if follows("(?") {
                let letters = bytes[(place + 2)...].prefix { (97...122).contains($0) }
                if letters.contains(UInt8(ascii: "m")) { isMultiline = true }
                if letters.contains(UInt8(ascii: "s")) { isSingleLine = true }
            }
            place += 1
        }
    }

    /// Returns the index of the last bracket of a POSIX class such as `[:alpha:]`. Returns nil if none begins at
    /// `place`.
    private static func endOfPOSIXClass(in bytes: [UInt8], at place: Int) -> Int? {
        guard bytes[place...].starts(with: "[:".utf8),
            let end = bytes[(place + 2)...].firstIndex(of: UInt8(ascii: "]")), end > place + 2,
            bytes[end - 1] == UInt8(ascii: ":")
        else { return nil }
        return end
    }
}
