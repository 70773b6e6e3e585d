/// A keyword of a keepalived.conf with its values, and where it has one its block.
struct KeepalivedStatement {
    let place: SourcePlace
    /// The line, up to the block: some values are taken apart by other rules than `words`.
    let text: String
    /// Without the quotes around them; never empty.
    let words: [String]
    var block: [KeepalivedStatement]?

    var keyword: String { words[0] }
    var values: ArraySlice<String> { words.dropFirst() }

    /// What lines say, nested as their braces are.
    static func parse(_ lines: [KeepalivedLines.Line]) throws(ConfigurationErrors) -> [KeepalivedStatement] {
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
                        throw KeepalivedLines.error(line.place, "} without its {", accepted: "as many } as {")
                    }
                    let block = levels.removeLast()
                    levels[levels.count - 1][levels[levels.count - 1].count - 1].block = block
                default:
                    let words = words(of: piece)
                    guard !words.isEmpty else { continue }
                    levels[levels.count - 1].append(
                        KeepalivedStatement(place: line.place, text: piece, words: words, block: nil))
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
        var piece = ""
        var isQuoted = false
        for character in text {
            if character == "\"" { isQuoted.toggle() }
            guard !isQuoted, character == "{" || character == "}" else {
                piece.append(character)
                continue
            }
            pieces.append(piece)
            pieces.append(String(character))
            piece = ""
        }
        return (pieces + [piece]).filter { !$0.allSatisfy(\.isWhitespace) }
    }

    /// Words between white space; one in double quotes is one, too (alloc_strvec_r).
    private static func words(of text: String) -> [String] {
        var words: [String] = []
        var rest = text[...]
        while true {
            rest = rest.drop(while: \.isWhitespace)
            guard let first = rest.first else { return words }
            if first == "\"" {
                let word = rest.dropFirst().prefix { $0 != "\"" }
                words.append(String(word))
                rest = rest[word.endIndex...].dropFirst()
            } else {
                let word = rest.prefix { !$0.isWhitespace && $0 != "\"" }
                words.append(String(word))
                rest = rest[word.endIndex...]
            }
        }
    }
}
