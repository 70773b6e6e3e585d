internal import ServiceConfiguration

/// A repeated line: `~SEQ(NAME, START, STEP, END) LINE` or `~LST({NAME, NAME}, {VALUE, VALUE}, …) LINE`. LINE is
/// repeated once for each number of ~SEQ, or for each group of values of ~LST (add_seq and add_lst in lib/parser.c).
struct KeepalivedRepetition {
    /// The most repetitions, which are enough for the addresses of a /16.
    static let mostRounds = 65_536

    private let rounds: [[(name: String, value: String)]]
    private let line: String

    static func isOne(_ text: String) -> Bool {
        ASCIIText.starts(text, with: "~SEQ") || ASCIIText.starts(text, with: "~LST")
    }

    /// Parses a line for which `isOne` is true. `filled` inserts definitions in the numbers of ~SEQ.
    init(_ text: String, filled: (String) throws(InvalidValue) -> String) throws(InvalidValue) {
        var cursor = Cursor(rest: text.unicodeScalars.dropFirst(4))
        if ASCIIText.starts(text, with: "~SEQ") {
            rounds = try Self.sequence(&cursor, filled)
        } else {
            rounds = try Self.list(&cursor)
        }
        line = ASCIIText.trimmed(cursor.rest)
    }

    var isTooLong: Bool { rounds.count > Self.mostRounds }

    /// The lines of each round: its definitions, and then the repeated line.
    var lines: [String] {
        rounds.flatMap { round in
            round.filter { ASCIIText.isName($0.name) }.map { "$\($0.name)=\($0.value)" } + [line]
        }
    }

    private struct Cursor {
        var rest: Substring.UnicodeScalarView

        /// Skips blanks, and then `scalar` and the blanks behind it. Returns whether `scalar` came next.
        mutating func skip(_ scalar: Unicode.Scalar) -> Bool {
            rest = rest.drop(while: ASCIIText.isBlank)
            guard rest.first == scalar else { return false }
            rest = rest.dropFirst().drop(while: ASCIIText.isBlank)
            return true
        }

        mutating func word(upTo ends: Set<Unicode.Scalar>) -> String {
            let word = rest.prefix { !ends.contains($0) && !ASCIIText.isBlank($0) }
            rest = rest[word.endIndex...]
            return String(word)
        }
    }

    private static func sequence(
        _ cursor: inout Cursor, _ filled: (String) throws(InvalidValue) -> String
    ) throws(InvalidValue) -> [[(name: String, value: String)]] {
        let invalid = InvalidValue("no sequence", accepted: "~SEQ(NAME, START, STEP, END) LINE")
        let radix = cursor.rest.first == "x" ? 16 : 10
        if radix == 16 { cursor.rest.removeFirst() }
        guard cursor.skip("(") else { throw invalid }
        let name = cursor.word(upTo: [",", ")"])
        guard !name.isEmpty, cursor.skip(","), let end = cursor.rest.firstIndex(of: ")") else { throw invalid }
        let text = try filled(String(cursor.rest[..<end]))
        cursor.rest = cursor.rest[end...].dropFirst()
        var numbers: [Int] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let number = number(ASCIIText.trimmed(part.unicodeScalars)) else { throw invalid }
            numbers.append(number)
        }
        let (start, step, last): (Int, Int, Int)
        switch numbers.count {
        case 1:
            (start, step, last) = (numbers[0] < 0 ? -1 : 1, numbers[0] < 1 ? -1 : 1, numbers[0])
        case 2: (start, step, last) = (numbers[0], numbers[0] <= numbers[1] ? 1 : -1, numbers[1])
        case 3: (start, step, last) = (numbers[0], numbers[1], numbers[2])
        default: throw invalid
        }
        guard step != 0, start == last || (start < last) == (step > 0), radix == 10 || min(start, last) >= 0 else {
            throw invalid
        }
        let values = stride(from: start, through: last, by: step).prefix(mostRounds + 1)
        return values.map { [(name, String($0, radix: radix))] }
    }

    /// Parses a number as strtol(3) does with base 0.
    private static func number(_ text: String) -> Int? {
        let isNegative = text.utf8.first == 45
        let digits = text.utf8.first == 45 || text.utf8.first == 43 ? text.dropFirst() : text[...]
        let lowered = digits.lowercased()
        let magnitude: Int? =
            if ASCIIText.starts(lowered, with: "0x") {
                Int(lowered.dropFirst(2), radix: 16)
            } else if lowered.utf8.first == 48 {
                Int(lowered, radix: 8)
            } else {
                lowered.utf8.allSatisfy { (48...57).contains($0) } ? Int(lowered) : nil
            }
        // The limit rules out an overflow in the sequence.
        guard let magnitude, magnitude <= 1 << 40 else { return nil }
        return isNegative ? -magnitude : magnitude
    }

    private static func list(_ cursor: inout Cursor) throws(InvalidValue) -> [[(name: String, value: String)]] {
        let invalid = InvalidValue("no list", accepted: "~LST({NAME, NAME}, {VALUE, VALUE}, …) LINE")
        guard cursor.skip("("), let names = set(&cursor), cursor.skip(",") else { throw invalid }
        var rounds: [[(name: String, value: String)]] = []
        repeat {
            guard let values = set(&cursor), values.count <= names.count else { throw invalid }
            // A missing value becomes an empty text.
            rounds.append(
                names.indices.map { (names[$0], values.indices.contains($0) ? values[$0] : "") })
        } while cursor.skip(",")
        guard cursor.skip(")") else { throw invalid }
        return rounds
    }

    /// Parses `{A, B}`, or a single `A`. Returns nil if the closing brace is missing.
    private static func set(_ cursor: inout Cursor) -> [String]? {
        guard cursor.skip("{") else { return [cursor.word(upTo: [",", "}", ")"])] }
        var words: [String] = []
        repeat { words.append(cursor.word(upTo: [",", "}", ")"])) } while cursor.skip(",")
        return cursor.skip("}") ? words : nil
    }
}
