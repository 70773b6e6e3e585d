/// The lines of a keepalived.conf as its parser takes them (read_line in lib/parser.c): without comments, with the files
/// that they include, for one configuration id, and with definitions filled in.
struct KeepalivedLines {
    struct Line {
        var place: SourcePlace
        var text: String
    }

    /// As keepalived's MAXBUF; what definitions grow to may not be longer either.
    private static let longestLine = 8192
    private static let mostLines = 1_000_000
    private static let deepest = 32

    private let options: Import
    private(set) var lines: [Line] = []
    private(set) var remarks: [PlacedRemark] = []
    private var definitions: [String: [String]] = [:]
    /// The name of one whose lines go on, each ending with a backslash.
    private var open: String?
    private var order = 0

    /// `name` is a path, or "-".
    init(_ text: String, name: String, options: Import) throws(ConfigurationErrors) {
        self.options = options
        try read(text, file: name, depth: 0)
    }

    private mutating func read(_ text: String, file: String, depth: Int) throws(ConfigurationErrors) {
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            order += 1
            let place = SourcePlace(file: file, line: index + 1, order: order)
            guard line.utf8.count <= Self.longestLine else {
                throw Self.error(place, "a line of \(line.utf8.count) bytes", accepted: "\(Self.longestLine) at most")
            }
            try take(try Self.withoutComment(line, at: place), at: place, depth: depth)
        }
    }

    private mutating func take(_ text: String, at place: SourcePlace, depth: Int) throws(ConfigurationErrors) {
        if let name = open {
            let goesOn = text.hasSuffix("\\")
            let line = Self.trimmed(goesOn ? text.dropLast() : text[...])
            if !line.isEmpty { definitions[name, default: []].append(line) }
            if !goesOn { open = nil }
            return
        }
        guard let text = condition(text, at: place) else { return }
        if try define(text, at: place) { return }
        for line in try filled(text, at: place) { try finish(line, at: place, depth: depth) }
    }

    private mutating func finish(_ text: String, at place: SourcePlace, depth: Int) throws(ConfigurationErrors) {
        guard !text.isEmpty else { return }
        guard !text.unicodeScalars.contains("\u{FFFD}") else {
            throw Self.error(place, "bytes that are not UTF-8", accepted: "other encodings in comments only")
        }
        if text.hasPrefix("~") {
            throw Self.error(place, "~SEQ and ~LST are not read", accepted: "the lines that they stand for")
        }
        if let pattern = Self.included(text) { return try include(pattern, at: place, depth: depth) }
        guard lines.count < Self.mostLines else {
            throw Self.error(place, "more lines than anybody writes", accepted: "\(Self.mostLines) at most")
        }
        lines.append(Line(place: place, text: text))
    }

    static func error(_ place: SourcePlace, _ problem: String, accepted: String) -> ConfigurationErrors {
        ConfigurationErrors([ConfigurationError(place: "\(place)", problem: problem, accepted: accepted)])
    }

    // MARK: Comments

    /// From "!" or "#" outside of double quotes to the end; a backslash before them takes their meaning away.
    private static func withoutComment(
        _ line: Substring, at place: SourcePlace
    ) throws(ConfigurationErrors) -> String {
        var result = ""
        var isQuoted = false
        var isEscaped = false
        for character in line {
            if isEscaped {
                if !isQuoted, character == "#" || character == "!" { result.removeLast() }
                isEscaped = false
            } else if character == "\\" {
                isEscaped = true
            } else if character == "\"" {
                isQuoted.toggle()
            } else if !isQuoted, character == "#" || character == "!" {
                break
            }
            result.append(character)
        }
        guard !isQuoted else { throw error(place, "a quotation does not end", accepted: "\"…\" on one line") }
        return trimmed(result[...])
    }

    private static func trimmed(_ text: Substring) -> String {
        var rest = text.drop(while: \.isWhitespace)
        while rest.last?.isWhitespace == true { rest.removeLast() }
        return String(rest)
    }

    // MARK: Conditions

    /// The line behind `@ID` or `@^ID`; nil: it is for others.
    private mutating func condition(_ text: String, at place: SourcePlace) -> String? {
        guard text.hasPrefix("@") else { return text }
        let parts = text.dropFirst().split(
            maxSplits: 1, omittingEmptySubsequences: false, whereSeparator: \.isWhitespace)
        let isNegated = parts[0].hasPrefix("^")
        let id = isNegated ? parts[0].dropFirst() : parts[0]
        let rest = parts.count > 1 ? Self.trimmed(parts[1]) : ""
        guard let own = options.configurationID else {
            remarks.append(
                PlacedRemark(
                    .left, place,
                    "'\(rest)': a line \(isNegated ? "but for" : "for") the configuration id \(id); "
                        + "--config-id says whose is wanted"))
            return nil
        }
        return (own == id) != isNegated ? rest : nil
    }

    // MARK: Definitions

    private mutating func define(_ text: String, at place: SourcePlace) throws(ConfigurationErrors) -> Bool {
        guard text.hasPrefix("$"), let sign = text.firstIndex(of: "=") else { return false }
        let name = String(text[text.index(after: text.startIndex)..<sign])
        guard Self.isName(name) else { return false }
        let value = Self.trimmed(text[text.index(after: sign)...])
        guard value.hasSuffix("\\") else {
            definitions[name] = [value]
            return true
        }
        let first = Self.trimmed(value.dropLast())
        definitions[name] = first.isEmpty ? [] : [first]
        open = name
        return true
    }

    private static func isName(_ text: some StringProtocol) -> Bool {
        guard let first = text.first, first.isASCII, first.isLetter || first == "_" else { return false }
        return text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
    }

    /// The lines that one becomes. What is not defined stays as it is.
    private mutating func filled(_ text: String, at place: SourcePlace) throws(ConfigurationErrors) -> [String] {
        guard text.contains("$"), !definitions.isEmpty || text.contains("${_") else { return [text] }
        var result: [String] = []
        var waiting = [text]
        var steps = 0
        while let line = waiting.popLast() {
            steps += 1
            guard line.utf8.count <= Self.longestLine, steps <= 10_000 else {
                throw Self.error(
                    place, "definitions that grow without end", accepted: "lines of \(Self.longestLine) bytes at most")
            }
            // Lines of a definition may be conditional, or definitions themselves.
            guard let rest = condition(line, at: place) else { continue }
            if rest != text, try define(rest, at: place) { continue }
            guard let (range, name) = Self.reference(in: rest, where: { definitions[$0] != nil || $0.hasPrefix("_") })
            else {
                result.append(rest)
                continue
            }
            let value = try value(of: name, at: place)
            if value.count > 1, range != rest.startIndex..<rest.endIndex {
                throw Self.error(
                    place, "$\(name) has several lines", accepted: "$\(name) as the whole line")
            }
            // What replaces it is looked at again.
            waiting += (value.isEmpty ? [""] : value).reversed()
                .map { "\(rest[..<range.lowerBound])\($0)\(rest[range.upperBound...])" }
        }
        return result
    }

    /// `${NAME}`, or `$NAME` before white space, a comma, a parenthesis or the end.
    private static func reference(
        in text: String, where isKnown: (String) -> Bool
    ) -> (Range<String.Index>, String)? {
        var start = text.startIndex
        while let sign = text[start...].firstIndex(of: "$") {
            start = text.index(after: sign)
            let rest = text[start...]
            if rest.hasPrefix("{") {
                guard let end = rest.firstIndex(of: "}") else { continue }
                let name = String(rest[rest.index(after: rest.startIndex)..<end])
                let word = String(name.prefix { !$0.isWhitespace })
                if isName(word), isKnown(word) { return (sign..<text.index(after: end), word) }
            } else {
                let name = rest.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
                let next = text[name.endIndex...].first
                if isName(name), isKnown(String(name)), !name.hasPrefix("_"),
                    next.map({ $0.isWhitespace || $0 == "," || $0 == ")" }) ?? true
                {
                    return (sign..<name.endIndex, String(name))
                }
            }
        }
        return nil
    }

    private func value(of name: String, at place: SourcePlace) throws(ConfigurationErrors) -> [String] {
        if let lines = definitions[name] { return lines }
        return [try predefined(name, at: place)]
    }

    private func predefined(_ name: String, at place: SourcePlace) throws(ConfigurationErrors) -> String {
        switch name {
        case "_HASH": return "#"
        case "_BANG": return "!"
        case "_PWD": return Self.directory(of: place.file)
        case "_INSTANCE":
            if let id = options.configurationID { return id }
            throw Self.error(place, "${_INSTANCE} is not known", accepted: "with --config-id")
        default: throw Self.error(place, "${\(name)} is not read", accepted: "its value")
        }
    }

    // MARK: Other files

    /// What `include PATTERN` names, and its kin that ask for more of the files.
    private static func included(_ text: String) -> String? {
        let parts = text.split(maxSplits: 1, whereSeparator: \.isWhitespace)
        guard parts.count == 2,
            ["include", "includer", "includem", "includew", "includeb", "includea"].contains(parts[0])
        else { return nil }
        return trimmed(parts[1])
    }

    private static func directory(of file: String) -> String {
        guard let slash = file.lastIndex(of: "/") else { return "." }
        return slash == file.startIndex ? "/" : String(file[..<slash])
    }

    private mutating func include(_ pattern: String, at place: SourcePlace, depth: Int) throws(ConfigurationErrors) {
        guard depth < Self.deepest else {
            throw Self.error(place, "files that include each other", accepted: "\(Self.deepest) levels at most")
        }
        let bare = pattern.filter { $0 != "\"" }
        let path = bare.hasPrefix("/") ? bare : "\(Self.directory(of: place.file))/\(bare)"
        let files = options.surroundings.matches(path).filter { !$0.hasSuffix("/") }
        if files.isEmpty {
            guard bare.contains(where: { "*?[{".contains($0) }) else {
                throw Self.error(place, "include \(bare): there is no such file", accepted: "a file's path")
            }
            remarks.append(PlacedRemark(.note, place, "include \(bare): there is no such file"))
        }
        for file in files {
            guard let text = options.surroundings.text(file) else {
                throw Self.error(place, "include \(bare): \(file) cannot be read", accepted: "files of text")
            }
            try read(text, file: file, depth: depth + 1)
        }
    }
}
