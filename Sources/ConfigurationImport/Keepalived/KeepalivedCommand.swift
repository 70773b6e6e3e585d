internal import Addresses
internal import HealthChecks
internal import ServiceConfiguration

/// The parser of command lines and regular expressions in a keepalived.conf. Their quotes and escapes are like a
/// shell's (alloc_strvec_quoted_escaped in lib/parser.c).
enum KeepalivedCommand {
    /// Returns the command's words and the user of `KEYWORD COMMAND [USER [GROUP]]`. COMMAND is in quotes if it has
    /// arguments. The user is nil if the line has none, and includes the group.
    static func command(of statement: KeepalivedStatement) throws(InvalidValue) -> (command: [String], user: String?) {
        let words = try split(statement.text, escapes: false)
        let command = words.count > 1 ? try split(words[1], escapes: true) : []
        guard !command.isEmpty else {
            throw InvalidValue(
                "\(statement.keyword) without a program", accepted: "\(statement.keyword) \"/PATH ARGUMENT…\"")
        }
        return (command, words.count > 2 ? words[2...].joined(separator: " ") : nil)
    }

    /// Whether the name is an absolute path, or can be the name of a program in PATH.
    static func isProgram(_ name: String) -> Bool {
        name.utf8.first == 47 || !name.isEmpty && !name.utf8.contains(47) && name.utf8.first != 60
    }

    /// Whether the machine has the program. A name without a path is looked up in the PATH of the programs that ipvsd
    /// runs.
    static func exists(_ name: String, _ files: NamedFiles) -> Bool {
        guard name.utf8.first != 47 else { return files.problemOfProgram(name) == nil }
        return ProgramRun.path.split(separator: ":").contains { files.problemOfProgram("\($0)/\(name)") == nil }
    }

    static let noProgram = "it is neither an absolute path of a program nor the name of one in PATH"

    /// Returns the word with each occurrence of the address replaced. A longer address that contains it stays, such as
    /// 10.0.0.11 for 10.0.0.1.
    static func replacing(_ address: IPAddress, with replacement: String, in word: String) -> String {
        let address = address.description
        func isNumber(_ scalar: Unicode.Scalar?) -> Bool { scalar.map(ASCIIText.isDigit) ?? false }
        var result = ""
        var rest = word.unicodeScalars[...]
        while let first = rest.first {
            let last = result.unicodeScalars.last
            if !isNumber(last), last != ".", rest.starts(with: address.unicodeScalars) {
                let behind = rest.dropFirst(address.unicodeScalars.count)
                if !isNumber(behind.first), behind.first != "." || !isNumber(behind.dropFirst().first) {
                    result += replacement
                    rest = behind
                    continue
                }
            }
            result.unicodeScalars.append(first)
            rest.removeFirst()
        }
        return result
    }

    /// Splits a text into words. Single and double quotes join words. If `escapes` is false, a backslash and the
    /// character behind it stay as they are.
    static func split(_ text: String, escapes: Bool) throws(InvalidValue) -> [String] {
        var words: [String] = []
        var word: String.UnicodeScalarView?
        var quote: Unicode.Scalar?
        var rest = text.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            if scalar == "\\" {
                guard let next = rest.first else {
                    throw InvalidValue("a backslash at the end", accepted: "\\ before a character")
                }
                if escapes {
                    word = (word ?? String.UnicodeScalarView()) + escaped(&rest)
                } else {
                    word = (word ?? String.UnicodeScalarView()) + [scalar, next]
                    rest.removeFirst()
                }
            } else if scalar == quote {
                quote = nil
            } else if quote == nil, scalar == "\"" || scalar == "'" {
                quote = scalar
                word = word ?? String.UnicodeScalarView()
            } else if quote == nil, ASCIIText.isSpace(scalar) {
                if let word { words.append(String(word)) }
                word = nil
            } else {
                word = (word ?? String.UnicodeScalarView()) + [scalar]
            }
        }
        if let quote { throw InvalidValue("a quotation does not end", accepted: "\(quote)…\(quote)") }
        return words + (word.map { [String($0)] } ?? [])
    }

    /// Removes an escape from the start of `rest`, which begins behind the backslash. Returns the characters that the
    /// escape stands for. Escapes are `\n`, `\x41`, `\101`, `\cA` and similar, or a character that stands for itself.
    private static func escaped(_ rest: inout Substring.UnicodeScalarView) -> [Unicode.Scalar] {
        let first = rest.removeFirst()
        func code(_ digits: String, _ radix: Int) -> [Unicode.Scalar] {
            UInt8(digits, radix: radix).map { [Unicode.Scalar($0)] } ?? []
        }
        switch first {
        case "a": return ["\u{7}"]
        case "b": return ["\u{8}"]
        case "E": return ["\u{1B}"]
        case "f": return ["\u{C}"]
        case "n": return ["\n"]
        case "r": return ["\r"]
        case "t": return ["\t"]
        case "v": return ["\u{B}"]
        case "x":
            let digits = rest.prefix(2).prefix(while: ASCIIText.isHexDigit)
            guard !digits.isEmpty else { return ["x"] }
            rest = rest.dropFirst(digits.count)
            return code(String(digits), 16)
        case "c":
            guard let value = rest.first, value.isASCII else { return ["c"] }
            rest.removeFirst()
            return [Unicode.Scalar(UInt8(value.value & 0x1F))]
        case "0"..."7":
            let more = rest.prefix(2).prefix { ("0"..."7").contains($0) }
            rest = rest.dropFirst(more.count)
            return code("\(first)\(String(more))", 8)
        default: return [first]
        }
    }
}
