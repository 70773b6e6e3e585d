public import LoadBalancing
public import ServiceConfiguration

/// Makes a configuration file of what operators of kernel IPVS have: the rules that `ipvsadm -S` prints, or a
/// keepalived.conf. Whatever does not get into it is named.
public struct Import: Sendable {
    public enum Format: String, CaseIterable, Sendable {
        /// As `ipvsadm -R` takes them: ipvsadm's commands, one a line.
        case ipvsadm
        case keepalived
    }

    /// Nil: it is recognised.
    public var format: Format?
    /// The listeners that packets of a firewall mark come to: the source only says the mark.
    public var marks: [UInt32: [ServiceAddress]]
    /// As keepalived's --config-id: lines that begin with `@ID` are for it.
    public var configurationID: String?
    public var surroundings: ImportSurroundings

    public init(
        format: Format? = nil, marks: [UInt32: [ServiceAddress]] = [:], configurationID: String? = nil,
        surroundings: ImportSurroundings = .isolated
    ) {
        self.format = format
        self.marks = marks
        self.configurationID = configurationID
        self.surroundings = surroundings
    }

    public struct Result: Sendable {
        public let format: Format
        /// The configuration file, with comments; nil: there is nothing in it that ipvsd could serve.
        public let text: String?
        /// In the source's order.
        public let remarks: [ImportRemark]

        /// Whether all that matters is in the configuration.
        public var isComplete: Bool { text != nil && !remarks.contains(where: \.changesBehaviour) }
    }

    /// `name` is what errors and remarks call the text; files that it includes are looked for beside it.
    public func read(_ text: String, name: String) throws(ConfigurationErrors) -> Result {
        let format: Format = if let known = format { known } else { try recognised(text, name: name) }
        var file =
            switch format {
            case .ipvsadm: try RulesImport(self, name: name).read(text)
            case .keepalived: try KeepalivedImport(self, name: name).read(text)
            }
        try ImportMarks.check(self, file)
        ImportAssembly.assemble(&file)
        let printed = Self.accepted(&file)
        return Result(format: format, text: printed, remarks: file.allRemarks.map(\.remark))
    }

    /// The text that the file's own parser takes. Services that it does not take are left out, for its own reasons.
    private static func accepted(_ file: inout ImportedFile) -> String? {
        while !file.services.isEmpty {
            let printer = ImportPrinter(file)
            let text = printer.text
            let errors: [ConfigurationError]
            do {
                _ = try ConfigurationFile.parse(text, file: "")
                return text
            } catch { errors = error.errors }
            // The place of an error is ":LINE: KEY".
            var reasons: [Int: ConfigurationError] = [:]
            for error in errors {
                let line = Int(error.place.dropFirst().prefix { $0 != ":" }) ?? 0
                let index = printer.serviceLines.lastIndex { $0 <= line } ?? 0
                if reasons[index] == nil { reasons[index] = error }
            }
            for (index, error) in reasons.sorted(by: { $0.key > $1.key }) {
                file.drop(index, "\(error.problem) (accepted: \(error.accepted))")
            }
        }
        return nil
    }

    /// Of a file, or of standard input: "-". Comments may be in any encoding; what else is not UTF-8 is found later.
    public static func text(of path: String) throws(ConfigurationErrors) -> String {
        String(decoding: try ConfigurationFile.bytes(of: path), as: UTF8.self)
    }

    // MARK: Formats

    private func recognised(_ text: String, name: String) throws(ConfigurationErrors) -> Format {
        let accepted = "what 'ipvsadm -S -n' prints, or a keepalived.conf; --from ipvsadm|keepalived says which"
        // Of a byte order mark nothing follows.
        let scalars = text.unicodeScalars.drop { $0 == "\u{FEFF}" }
        for (index, line) in scalars.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let first = String(line.drop(while: ASCIIText.isSpace).prefix { !ASCIIText.isSpace($0) })
            guard let scalar = first.unicodeScalars.first, scalar != "#", scalar != "!" else { continue }
            // What it says of itself is no rule, and is told by the parser of rules.
            if String(line).hasPrefix("IP Virtual Server version") { return .ipvsadm }
            if scalar == "-" || first.split(separator: "/").last == "ipvsadm" { return .ipvsadm }
            if scalar.properties.isAlphabetic || "@$~".unicodeScalars.contains(scalar),
                text.contains("{") || Self.includes(first)
            {
                return .keepalived
            }
            throw ConfigurationErrors([
                ConfigurationError(
                    place: "\(name):\(index + 1)", problem: "neither a rule of ipvsadm nor a block of keepalived",
                    accepted: accepted)
            ])
        }
        throw ConfigurationErrors([
            ConfigurationError(place: name, problem: "there is nothing in it", accepted: accepted)
        ])
    }

    private static func includes(_ word: String) -> Bool { word.hasPrefix("include") && word.count <= 8 }
}
