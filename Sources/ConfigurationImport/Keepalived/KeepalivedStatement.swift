internal import LoadBalancing
internal import ServiceConfiguration

/// A keyword of a keepalived.conf with its values and its block.
struct KeepalivedStatement {
    let place: SourcePlace
    /// The line up to the block. `words` has the line's words, and some values are split by other rules.
    let text: String
    /// The words without their quotes. The list is never empty.
    let words: [String]
    var block: [KeepalivedStatement]?
    let notes: KeepalivedNotes

    var keyword: String { words[0] }
    var values: ArraySlice<String> { words.dropFirst() }

    /// Parses lines into statements, nested by their braces.
    static func parse(
        _ lines: [KeepalivedLines.Line], _ notes: KeepalivedNotes
    ) throws(ConfigurationErrors) -> [KeepalivedStatement] {
        var levels: [[KeepalivedStatement]] = [[]]
        for line in lines {
            for piece in pieces(of: line.text) {
                switch piece {
                case "{":
                    guard let last = levels[levels.count - 1].last, last.block == nil else {
                        throw KeepalivedLines.error(line.place, "{ without a keyword before it", accepted: "KEYWORD {")
                    }
                    guard levels.count <= 32 else {
                        throw KeepalivedLines.error(line.place, "too many blocks in blocks", accepted: "32 at most")
                    }
                    levels.append([])
                case "}":
                    guard levels.count > 1 else {
                        notes.add(.note, line.place, "} without its {: keepalived ignores it, too")
                        continue
                    }
                    let block = levels.removeLast()
                    levels[levels.count - 1][levels[levels.count - 1].count - 1].block = block
                default:
                    let words = words(of: piece)
                    guard !words.isEmpty else { continue }
                    levels[levels.count - 1].append(
                        KeepalivedStatement(place: line.place, text: piece, words: words, block: nil, notes: notes))
                }
            }
        }
        guard levels.count == 1 else {
            let opener = levels[levels.count - 2].last
            let place = opener?.place ?? SourcePlace(file: "", line: 0, order: 0)
            throw KeepalivedLines.error(
                place, "the block of \(opener?.keyword ?? "a keyword") does not end", accepted: "} behind it")
        }
        return levels[0]
    }

    /// Splits a line at braces outside of double quotes. The braces are pieces, too.
    private static func pieces(of text: String) -> [String] {
        var pieces: [String] = []
        var piece = Substring.UnicodeScalarView()
        var isQuoted = false
        for scalar in text.unicodeScalars {
            if scalar == "\"" { isQuoted.toggle() }
            guard !isQuoted, scalar == "{" || scalar == "}" else {
                piece.append(scalar)
                continue
            }
            pieces.append(String(piece))
            pieces.append(String(scalar))
            piece = Substring.UnicodeScalarView()
        }
        return (pieces + [String(piece)]).filter { !$0.unicodeScalars.allSatisfy(ASCIIText.isSpace) }
    }

    /// Splits a text into words at white space. A text in double quotes is one word. Text behind an unmatched quote is
    /// lost (alloc_strvec_r).
    private static func words(of text: String) -> [String] {
        var words: [String] = []
        var rest = text.unicodeScalars[...]
        while true {
            rest = rest.drop(while: ASCIIText.isSpace)
            guard let first = rest.first else { return words }
            if first == "\"" {
                let word = rest.dropFirst().prefix { $0 != "\"" }
                guard word.endIndex != rest.endIndex else { return words }
                words.append(String(word))
                rest = rest[word.endIndex...].dropFirst()
            } else {
                let word = rest.prefix { !ASCIIText.isSpace($0) && $0 != "\"" }
                words.append(String(word))
                rest = rest[word.endIndex...]
            }
        }
    }
}

/// The parsing of values as in keepalived, which warns of a bad value and uses the default.
extension KeepalivedStatement {
    /// Runs `body`. An error that it throws becomes a note, since keepalived ignores the value, too.
    func attempt(_ body: () throws(InvalidValue) -> Void) {
        do { try body() } catch { notes.add(.note, place, "\(error): keepalived ignores it, too") }
    }

    /// Returns the first value. Notes further values unless `more` is true. A missing value is an error, as keepalived
    /// exits then. The error has `accepted` as the form of the values.
    func value(_ accepted: String, more: Bool = false) throws(InvalidValue) -> String {
        guard let value = values.first else {
            let error = InvalidValue("\(keyword) without its value", accepted: "\(keyword) \(accepted)")
            notes.errors.add(place, error)
            throw error
        }
        if !more { endsBehind(1) }
        return value
    }

    /// Returns the only value. Returns nil after a note if it is missing or empty, as keepalived goes on without it.
    func name() -> String? {
        endsBehind(1)
        if let value = values.first, !value.isEmpty { return value }
        notes.add(.note, place, "\(keyword) without its value: keepalived ignores it, too")
        return nil
    }

    /// Notes the values after the first `count`, which keepalived ignores.
    func endsBehind(_ count: Int) {
        guard values.count > count else { return }
        notes.add(
            .note, place,
            "\(title): keepalived ignores \(AddressText.quoted(words[(count + 1)...].joined(separator: " ")))")
    }

    /// Parses the only value as a number, as read_unsigned does. Text behind the digits is ignored, or refused if
    /// `isExact` is true.
    func number(in range: ClosedRange<Int>, called name: String, isExact: Bool = false) throws(InvalidValue) -> Int {
        try number(try value("N"), in: range, called: name, isExact: isExact)
    }

    func number(
        _ text: String, in range: ClosedRange<Int>, called name: String, isExact: Bool = false
    ) throws(InvalidValue) -> Int {
        var rest = text.unicodeScalars.drop(while: ASCIIText.isSpace)
        if rest.first == "+" { rest.removeFirst() }
        let digits = rest.prefix(while: ASCIIText.isDigit)
        guard let number = digits.isEmpty ? 0 : Int(String(digits)), range.contains(number), rest.first != "-",
            !isExact || !digits.isEmpty && digits.endIndex == rest.endIndex
        else {
            throw InvalidValue(
                "\(AddressText.quoted(text)) is no \(name) for \(keyword)",
                accepted: "\(range.lowerBound) to \(range.upperBound)")
        }
        if digits.isEmpty || digits.endIndex != rest.endIndex {
            notes.add(.note, place, "\(title): keepalived takes \(number)")
        }
        return number
    }

    /// Parses seconds with up to six decimals, as read_timer does. `least` and `most` are in microseconds. The result
    /// is rounded to milliseconds.
    func timer(from least: Int, to most: Int = .max) throws(InvalidValue) -> Duration {
        let text = try value("SECONDS")
        let scalars = text.unicodeScalars
        let whole = scalars.prefix { $0 != "." }
        var fraction = scalars[whole.endIndex...].dropFirst()
        let roundsUp = fraction.dropFirst(6).first.map { $0 >= "5" } ?? false
        fraction = fraction.prefix(6)
        // keepalived appends zeros to the text, and then reads its leading digits. So "5s" is 5 microseconds.
        let decimals = String(whole) + String(fraction) + String(repeating: "0", count: 6 - fraction.count)
        let digits = decimals.unicodeScalars.prefix(while: ASCIIText.isDigit)
        guard let micros = digits.isEmpty ? 0 : Int(String(digits)), micros < .max - 1, text.utf8.first != 45,
            (least...most).contains(micros + (roundsUp ? 1 : 0))
        else {
            throw InvalidValue(
                "\(AddressText.quoted(text)) is no timer for \(keyword)",
                accepted: "seconds, as 3 or 0.5" + (least > 0 ? ", more than 0" : ""))
        }
        if digits.endIndex != decimals.endIndex {
            notes.add(.note, place, "\(title): keepalived takes \(micros) microseconds")
        }
        return .milliseconds(micros / 1000 + (micros % 1000 >= 500 ? 1 : 0))
    }

    /// Parses a truth value. A missing value is true.
    func flag() throws(InvalidValue) -> Bool {
        endsBehind(1)
        switch values.first {
        case nil, "true", "on", "yes": return true
        case "false", "off", "no": return false
        case let text?:
            throw InvalidValue(
                "\(keyword) \(AddressText.quoted(text)): neither yes nor no",
                accepted: "true, on, yes, false, off or no")
        }
    }

    /// The statements of the block. The list is empty if there is no block.
    var statements: [KeepalivedStatement] { block ?? [] }

    /// The words in one line.
    var title: String { words.joined(separator: " ") }
}

/// The errors and remarks of a keepalived.conf, shared by all of its statements.
final class KeepalivedNotes {
    /// The errors that end the import: errors at which keepalived exits, and statements without a clear meaning.
    let errors = ImportErrors()
    private var remarks: [PlacedRemark] = []

    func add(_ kind: ImportRemark.Kind, _ place: SourcePlace, _ text: String) {
        remarks.append(PlacedRemark(kind, place, text))
    }

    /// Returns the remarks that were added since the last call.
    func popRemarks() -> [PlacedRemark] {
        defer { remarks = [] }
        return remarks
    }
}

/// The remarks on statements that several blocks have.
enum KeepalivedRemarks {
    static let alpha =
        "alpha: in ipvsd a real server is up until its first check, which comes at once and alone decides"

    /// Returns the remark on `smtp_alert` and similar statements.
    static func mails(_ line: KeepalivedStatement) -> String {
        "\(line.title): ipvsd sends no mails; see \(Options.notifyMapping.keyName):"
    }
}
