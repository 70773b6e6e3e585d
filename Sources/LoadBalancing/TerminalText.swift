/// Text from servers, files and interface names, made safe for a terminal and for a log with one record a line.
extension StringProtocol {
    /// The text on one line. Control characters, line separators and controls of text direction become escapes as in
    /// JSON: `\n`, `\u001b`.
    public var onOneLine: String { escaped { $0.isUnsafe } }

    /// The text with its line ends and tabs, and otherwise as `onOneLine`.
    public var onItsLines: String { escaped { $0.isUnsafe && $0 != "\n" && $0 != "\t" } }

    /// A string of JSON (RFC 8259 section 7) on one line, with the quotation marks. It escapes by scalars, since a
    /// combining mark makes one character with a quotation mark before it.
    public var quotedAsJSON: String {
        var text = ""
        for scalar in unicodeScalars {
            if scalar == "\"" || scalar == "\\" { text.unicodeScalars.append("\\") }
            text.unicodeScalars.append(scalar)
        }
        return "\"\(text.onOneLine)\""
    }

    private func escaped(where isUnsafe: (Unicode.Scalar) -> Bool) -> String {
        guard unicodeScalars.contains(where: isUnsafe) else { return String(self) }
        var result = ""
        for scalar in unicodeScalars {
            guard isUnsafe(scalar) else {
                result.unicodeScalars.append(scalar)
                continue
            }
            switch scalar {
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            default:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: Swift.max(0, 4 - digits.count)) + digits
            }
        }
        return result
    }
}

extension [String] {
    /// The first 20 elements, and the number of the others, as a configuration may have thousands.
    public var listed: String {
        let shown = prefix(20).joined(separator: ", ")
        return count > 20 ? "\(shown) and \(count - 20) others" : shown
    }
}

extension Unicode.Scalar {
    /// Whether a terminal interprets the character, or moves the text around it.
    fileprivate var isUnsafe: Bool {
        if isASCII { return value < 0x20 || value == 0x7F }
        switch properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: return true
        default: return properties.isBidiControl
        }
    }
}
