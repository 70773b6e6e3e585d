/// The YAML text of values and comments.
package enum YAMLText {
    package enum Value: Hashable {
        case text(String)
        case list([String])
    }

    private static let plain = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=")

    package static func value(_ value: Value) -> String {
        switch value {
        case .text(let text): scalar(text)
        case .list(let texts): "[\(texts.map(scalar).joined(separator: ", "))]"
        }
    }

    /// Returns the text without quotes where YAML reads it as the same text, else in double quotes.
    package static func scalar(_ text: String) -> String {
        // A colon ends a key only before a space.
        let isPlain = text.allSatisfy { plain.contains($0) || $0 == ":" } && text.last != ":"
        guard let first = text.first, isPlain, first != ":", first != "=", text != "-" else { return quoted(text) }
        return text
    }

    /// Whether the text can stand below `|` unchanged. It has to be of printable ASCII, and must not begin with a
    /// space. Each line has to end with a line feed, and none may be empty.
    package static func isLiteral(_ text: String) -> Bool {
        text.utf8.allSatisfy { (0x20..<0x7F).contains($0) || $0 == 10 } && text.hasSuffix("\n") && text.first != " "
            && !text.hasPrefix("\n") && !text.contains("\n\n")
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case _
            where scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value) || scalar.value == 0x2028
                || scalar.value == 0x2029 || scalar.value == 0xFEFF || scalar.value == 0xFFFE || scalar.value == 0xFFFF:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    /// Returns the text with "?" for each line end and each character that YAML excludes. A comment can hold the
    /// result.
    package static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { scalar in
                    let isOther = scalar.properties.generalCategory == .control || scalar.value == 0xFEFF
                    return isOther || [0x2028, 0x2029].contains(scalar.value) || scalar.value > 0xFFFD ? "?" : scalar
                }))
    }

    /// Returns the text as lines of a comment, each with `indent` before it. A line is longer than `width` only if a
    /// single word is too long.
    package static func comment(_ text: String, indent: String = "", width: Int = 110) -> [String] {
        var lines: [String] = []
        var line = "\(indent)#"
        for word in printable(text).split(separator: " ") {
            if line.count + word.count >= width, line.count > indent.count + 1 {
                lines.append(line)
                line = "\(indent)#  "
            }
            line += " \(word)"
        }
        return lines + [line]
    }
}
