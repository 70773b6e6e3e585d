internal import ServiceConfiguration

/// The lines of a keepalived.conf as its parser reads them (read_line in lib/parser.c). Comments are removed, and
/// included files and definitions are inserted. Lines of other configuration ids are left out.
struct KeepalivedLines {
    struct Line {
        var place: SourcePlace
        var text: String
    }

    /// The largest number of bytes in a line, which is keepalived's MAXBUF. The limit also holds for a line with its
    /// definitions inserted.
    private static let longestLine = 8192
    private static let mostLines = 1_000_000
    private static let mostSteps = 200_000
    private static let mostLevels = 32

    private let options: Import
    private(set) var lines: [Line] = []
    private(set) var remarks: [PlacedRemark] = []
    private var definitions: [String: [String]] = [:]
    /// The name of a definition that goes on in the next line, after a backslash at the end of the last one. Nil if
    /// none does.
    private var openDefinition: String?
    private var order = 0

    /// Reads a text. `name` is its path, or "-".
    init(_ text: String, name: String, options: Import) throws(ConfigurationErrors) {
        self.options = options
        try read(text, file: name, depth: 0)
    }

    private mutating func read(_ text: String, file: String, depth: Int) throws(ConfigurationErrors) {
        // Only a line feed ends a line, as in fgets(3).
        for (index, bytes) in text.utf8.split(separator: 10, omittingEmptySubsequences: false).enumerated() {
            order += 1
            let place = SourcePlace(file: file, line: index + 1, order: order)
            guard bytes.count <= Self.longestLine else {
                throw Self.error(place, "a line of \(bytes.count) bytes", accepted: "\(Self.longestLine) at most")
            }
            if bytes.contains(0) {
                remark(.note, place, "a line with a NUL: keepalived ignores it")
                continue
            }
            var line = Substring(bytes).unicodeScalars
            while line.last == "\r" { line.removeLast() }
            if index == 0, line.first == "\u{FEFF}" {
                remark(.note, place, "a byte order mark: keepalived takes it for a part of the first word")
            }
            try read(line: withoutComment(line, at: place), at: place, depth: depth)
        }
    }

    private mutating func remark(_ kind: ImportRemark.Kind, _ place: SourcePlace, _ text: String) {
        remarks.append(PlacedRemark(kind, place, text))
    }

    /// Reads a line. If the line has definitions or is a repetition, reads the lines that it becomes.
    private mutating func read(line text: String, at place: SourcePlace, depth: Int) throws(ConfigurationErrors) {
        var waiting = [text]
        var steps = 0
        while let line = waiting.popLast() {
            steps += 1
            guard steps <= Self.mostSteps, waiting.count <= Self.mostSteps else { throw Self.endless(place) }
            if let name = openDefinition {
                extend(name, line)
                continue
            }
            guard let rest = condition(line, at: place), !define(rest) else { continue }
            if KeepalivedRepetition.isOne(rest) {
                waiting += try repetition(of: rest, at: place).reversed()
                continue
            }
            guard reference(in: rest) != nil else {
                try append(rest, at: place, depth: depth)
                continue
            }
            // The inserted text may have references and comments itself.
            let filled = try replaced(rest, at: place)
            waiting += filled.dropFirst().reversed()
            waiting.append(withoutComment(filled[0].unicodeScalars[...], at: place))
        }
    }

    /// Returns the lines that a line becomes with its definitions inserted. A line that is a repetition stays, as it is
    /// expanded before definitions are inserted in its lines.
    private func replaced(_ text: String, at place: SourcePlace) throws(ConfigurationErrors) -> [String] {
        var lines = [text]
        var steps = 0
        while !KeepalivedRepetition.isOne(lines[0]), let (range, name) = reference(in: lines[0]) {
            steps += 1
            guard steps <= 1000, lines[0].utf8.count <= Self.longestLine else { throw Self.endless(place) }
            let value = try value(of: name, at: place)
            let first = "\(lines[0][..<range.lowerBound])\(value.first ?? "")\(lines[0][range.upperBound...])"
            lines = [first] + value.dropFirst() + lines.dropFirst()
        }
        return lines
    }

    private mutating func repetition(of text: String, at place: SourcePlace) throws(ConfigurationErrors) -> [String] {
        let repetition: KeepalivedRepetition
        do {
            repetition = try KeepalivedRepetition(text) { text throws(InvalidValue) in try filled(text) }
        } catch {
            remark(.note, place, "\(text): \(error.problem): keepalived ignores it, too")
            return []
        }
        guard !repetition.isTooLong else {
            throw Self.error(place, "too many values", accepted: "\(KeepalivedRepetition.mostRounds) at most")
        }
        return repetition.lines
    }

    private mutating func append(_ text: String, at place: SourcePlace, depth: Int) throws(ConfigurationErrors) {
        guard !text.isEmpty else { return }
        if let (pattern, isRequired) = Self.included(text) {
            return try include(pattern, isRequired: isRequired, at: place, depth: depth)
        }
        guard lines.count < Self.mostLines else {
            throw Self.error(place, "too many lines", accepted: "\(Self.mostLines) at most")
        }
        lines.append(Line(place: place, text: text))
    }

    private static func endless(_ place: SourcePlace) -> ConfigurationErrors {
        error(place, "definitions that grow without end", accepted: "lines of \(longestLine) bytes at most")
    }

    static func error(_ place: SourcePlace, _ problem: String, accepted: String) -> ConfigurationErrors {
        ConfigurationErrors([ConfigurationError(place: "\(place)", problem: problem, accepted: accepted)])
    }

    // MARK: Comments

    /// Removes a comment: "!" or "#" outside of double quotes, and all that follows. A backslash escapes both
    /// characters (decomment).
    private mutating func withoutComment(_ line: Substring.UnicodeScalarView, at place: SourcePlace) -> String {
        var result = Substring.UnicodeScalarView()
        var isQuoted = false
        var isEscaped = false
        for scalar in line {
            if isEscaped {
                if !isQuoted, scalar == "#" || scalar == "!" { result.removeLast() }
                isEscaped = false
            } else if scalar == "\\" {
                isEscaped = true
            } else if scalar == "\"" {
                isQuoted.toggle()
            } else if !isQuoted, scalar == "#" || scalar == "!" {
                break
            }
            result.append(scalar)
        }
        if isQuoted { remark(.note, place, "a quotation does not end: keepalived leaves it out") }
        return ASCIIText.trimmed(result)
    }

    // MARK: Conditions

    /// Returns the text behind `@ID` or `@^ID`, or the whole text if it has no such condition. Returns nil if the line
    /// does not hold for the own id.
    private mutating func condition(_ text: String, at place: SourcePlace) -> String? {
        guard text.unicodeScalars.first == "@" else { return text }
        let scalars = text.unicodeScalars.dropFirst()
        let isNegated = scalars.first == "^"
        let id = String(scalars.dropFirst(isNegated ? 1 : 0).prefix { !ASCIIText.isBlank($0) })
        let rest = ASCIIText.trimmed(scalars.drop { !ASCIIText.isBlank($0) })
        guard let own = options.configurationID else {
            remark(
                .left, place,
                "'\(rest)': a line \(isNegated ? "but for" : "for") the configuration id \(id); "
                    + "--config-id chooses one")
            return nil
        }
        return (own == id) != isNegated ? rest : nil
    }

    // MARK: Definitions

    private mutating func define(_ text: String) -> Bool {
        guard text.unicodeScalars.first == "$", let sign = text.unicodeScalars.firstIndex(of: "=") else { return false }
        let name = String(text.unicodeScalars[..<sign].dropFirst())
        guard ASCIIText.isName(name) else { return false }
        definitions[name] = []
        extend(name, String(text.unicodeScalars[sign...].dropFirst()))
        if openDefinition == nil, definitions[name] == [] { definitions[name] = [""] }
        return true
    }

    /// Adds a line to a definition. After a backslash at the line's end, the next line continues the definition.
    private mutating func extend(_ name: String, _ text: String) {
        var line = text.unicodeScalars[...]
        openDefinition = line.last == "\\" ? name : nil
        if openDefinition != nil { line.removeLast() }
        let trimmed = ASCIIText.trimmed(line)
        if !trimmed.isEmpty { definitions[name, default: []].append(trimmed) }
    }

    /// Returns the first reference to a definition, with the definition's name: `${NAME}`, or `$NAME` before a blank, a
    /// comma, a parenthesis or the end. An unknown name makes no reference. A definition of several lines is inserted
    /// only at the end of a line.
    private func reference(in text: String) -> (Range<String.Index>, String)? {
        let scalars = text.unicodeScalars
        var start = scalars.startIndex
        while let sign = scalars[start...].firstIndex(of: "$") {
            start = scalars.index(after: sign)
            let isBraced = scalars[start...].first == "{"
            let name = scalars[start...].dropFirst(isBraced ? 1 : 0).prefix(while: ASCIIText.isNamePart)
            var end = name.endIndex
            if isBraced {
                guard let brace = scalars[end...].firstIndex(of: "}") else { continue }
                end = scalars.index(after: brace)
            } else if let next = scalars[end...].first, !ASCIIText.isBlank(next), next != ",", next != ")" {
                continue
            }
            let text = String(name)
            let count = definitions[text]?.count ?? (Self.predefined.contains(text) ? 1 : nil)
            if ASCIIText.isName(text), let count, count == 1 || end == scalars.endIndex { return (sign..<end, text) }
        }
        return nil
    }

    /// Returns the text with its definitions inserted. Each has to have exactly one line.
    private func filled(_ text: String) throws(InvalidValue) -> String {
        var text = text
        var steps = 0
        while let (range, name) = reference(in: text) {
            steps += 1
            guard let value = definitions[name], value.count == 1, steps < 100 else {
                throw InvalidValue("no number in $\(name)", accepted: "a definition of one line")
            }
            text = "\(text[..<range.lowerBound])\(value[0])\(text[range.upperBound...])"
        }
        return text
    }

    private func value(of name: String, at place: SourcePlace) throws(ConfigurationErrors) -> [String] {
        if let lines = definitions[name] { return lines }
        return [try predefined(name, at: place)]
    }

    private static let predefined: Set = ["_PWD", "_INSTANCE", "_RANDOM", "_ENV", "_HASH", "_BANG"]

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

    /// Returns the pattern of `include PATTERN`, or nil for any other line. `isRequired` is true for variants such as
    /// `includea`: keepalived exits if they match no file.
    private static func included(_ text: String) -> (pattern: String, isRequired: Bool)? {
        guard ASCIIText.starts(text, with: "include") else { return nil }
        var rest = text.unicodeScalars.dropFirst(7)
        var kind: Unicode.Scalar?
        if let first = rest.first, "rmwba".unicodeScalars.contains(first) {
            kind = first
            rest.removeFirst()
        }
        guard let space = rest.first, ASCIIText.isSpace(space) else { return nil }
        return (ASCIIText.trimmed(rest.dropFirst()), kind != nil)
    }

    private static func directory(of file: String) -> String {
        guard let slash = file.lastIndex(of: "/") else { return "." }
        return slash == file.startIndex ? "/" : String(file[..<slash])
    }

    private mutating func include(
        _ pattern: String, isRequired: Bool, at place: SourcePlace, depth: Int
    ) throws(ConfigurationErrors) {
        guard depth < Self.mostLevels else {
            throw Self.error(place, "files that include each other", accepted: "\(Self.mostLevels) levels at most")
        }
        let path = ASCIIText.starts(pattern, with: "/") ? pattern : "\(Self.directory(of: place.file))/\(pattern)"
        let files = options.surroundings.matches(path).filter { !$0.hasSuffix("/") }
        if files.isEmpty {
            let isPattern = pattern.contains { "*?[{".contains($0) }
            guard isPattern || !isRequired else {
                throw Self.error(place, "include \(pattern): there is no such file", accepted: "a file's path")
            }
            remark(
                isPattern ? .note : .left, place,
                "include \(pattern): there is no such file\(isPattern ? "" : " here; keepalived goes on without it, too")"
            )
        }
        for file in files {
            guard let text = options.surroundings.text(file) else {
                throw Self.error(place, "include \(pattern): \(file) cannot be read", accepted: "files of text")
            }
            try read(text, file: file, depth: depth + 1)
        }
    }
}
