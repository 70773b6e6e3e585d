/// Command lines and regular expressions of a keepalived.conf, which have quotes and escapes like a shell's
/// (alloc_strvec_quoted_escaped in lib/parser.c).
enum KeepalivedCommand {
    /// Of `KEYWORD COMMAND [USER [GROUP]]`: the command is one word, quoted where it has arguments.
    static func command(of statement: KeepalivedStatement) throws(InvalidValue) -> (command: [String], user: String?) {
        let words = try split(statement.text, escapes: false)
        guard words.count > 1 else {
            throw InvalidValue(
                "\(statement.keyword) without a program", accepted: "\(statement.keyword) \"/PATH ARGUMENT…\"")
        }
        let command = try split(words[1], escapes: true)
        guard !command.isEmpty else {
            throw InvalidValue("\(statement.keyword): an empty command", accepted: "\"/PATH ARGUMENT…\"")
        }
        return (command, words.count > 2 ? words[2...].joined(separator: " ") : nil)
    }

    /// Words between white space, where single and double quotes hold some together. Without `escapes` a backslash and
    /// what follows it stay as they are.
    static func split(_ text: String, escapes: Bool) throws(InvalidValue) -> [String] {
        var words: [String] = []
        var word: String?
        var quote: Character?
        var rest = text[...]
        while let character = rest.popFirst() {
            if character == "\\" {
                guard let next = rest.first else {
                    throw InvalidValue("a backslash at the end", accepted: "\\ before a character")
                }
                word = (word ?? "") + (escapes ? escaped(&rest) : "\\\(next)")
                if !escapes { rest.removeFirst() }
            } else if character == quote {
                quote = nil
            } else if quote == nil, character == "\"" || character == "'" {
                quote = character
                word = word ?? ""
            } else if quote == nil, character.isWhitespace {
                if let word { words.append(word) }
                word = nil
            } else {
                word = (word ?? "") + String(character)
            }
        }
        if let quote { throw InvalidValue("a quotation does not end", accepted: "\(quote)…\(quote)") }
        return words + (word.map { [$0] } ?? [])
    }

    /// What a backslash makes of the characters behind it, which are taken: `\n`, `\x41`, `\101`, `\cA`, or themselves.
    private static func escaped(_ rest: inout Substring) -> String {
        let first = rest.removeFirst()
        func code(_ digits: Substring, _ radix: Int) -> String {
            UInt8(digits, radix: radix).map { String(UnicodeScalar($0)) } ?? ""
        }
        switch first {
        case "a": return "\u{7}"
        case "b": return "\u{8}"
        case "E": return "\u{1B}"
        case "f": return "\u{C}"
        case "n": return "\n"
        case "r": return "\r"
        case "t": return "\t"
        case "v": return "\u{B}"
        case "x":
            let digits = rest.prefix(2).prefix { $0.isASCII && $0.isHexDigit }
            guard !digits.isEmpty else { return "x" }
            rest = rest.dropFirst(digits.count)
            return code(digits, 16)
        case "c":
            guard let value = rest.first?.asciiValue else { return "c" }
            rest.removeFirst()
            return String(UnicodeScalar(value & 0x1F))
        case "0"..."7":
            let more = rest.prefix(2).prefix { ("0"..."7").contains($0) }
            rest = rest.dropFirst(more.count)
            return code("\(first)\(more)"[...], 8)
        default: return String(first)
        }
    }
}
