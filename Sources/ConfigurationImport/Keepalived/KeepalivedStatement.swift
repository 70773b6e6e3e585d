internal import ServiceConfiguration

/// A keyword of a keepalived.conf with its values, and where it has one its block.
struct KeepalivedStatement {
    let place: SourcePlace
    /// The line, up to the block: some values are taken apart by other rules than `words`.
    let text: String
    /// Without the quotes around them; never empty.
    let words: [String]
    var block: [KeepalivedStatement]?
    let notes: KeepalivedNotes

    var keyword: String { words[0] }
    var values: ArraySlice<String> { words.dropFirst() }

    /// What lines say, nested as their braces are.
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

    /// Braces outside of double quotes, and what is between them.
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

    /// Words between white space; one in double quotes is one, too. What an unmatched quote begins is lost (alloc_strvec_r).
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
