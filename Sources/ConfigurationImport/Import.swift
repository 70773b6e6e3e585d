public import LoadBalancing
public import ServiceConfiguration

/// The maker of a configuration file from the configuration of kernel IPVS: ipvsadm's rules or a keepalived.conf.
/// Remarks name everything that is left out or changed.
public struct Import: Sendable {
    public enum Format: String, CaseIterable, Sendable {
        /// The rules that `ipvsadm -S` prints and `ipvsadm -R` reads, with one rule on each line.
        case ipvsadm
        case keepalived
    }

    /// The format of the source. Nil means that the source's text decides.
    public var format: Format?
    /// The listeners by the firewall mark that their packets get. The source has only the marks.
    public var marks: [UInt32: [ServiceAddress]]
    /// The configuration id, as in keepalived's --config-id, or nil. A line that begins with `@ID` holds only for this
    /// id.
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
        /// The configuration file with comments, or nil if no service is usable.
        public let text: String?
        /// The remarks in the source's order.
        public let remarks: [ImportRemark]

        /// Whether the configuration behaves as the source did.
        public var isComplete: Bool { text != nil && !remarks.contains(where: \.changesBehaviour) }
    }

    /// Imports a text. `name` is the source's path in errors and remarks. Paths of included files are relative to its
    /// directory.
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

    /// Returns the text of the configuration file, or nil if no service is left. Drops each service that the parser
    /// refuses, with a remark that has the parser's reason.
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

    /// Returns the text of a file, or of standard input for "-". Bytes that are not UTF-8 become U+FFFD. Comments may
    /// have that, but no value of the configuration may.
    public static func text(of path: String) throws(ConfigurationErrors) -> String {
        String(decoding: try ConfigurationFile.bytes(of: path), as: UTF8.self)
    }

    // MARK: Formats

    private func recognised(_ text: String, name: String) throws(ConfigurationErrors) -> Format {
        let accepted = "what 'ipvsadm -S -n' prints, or a keepalived.conf; --from ipvsadm|keepalived chooses one"
        // A byte order mark does not decide the format.
        let scalars = text.unicodeScalars.drop { $0 == "\u{FEFF}" }
        for (index, line) in scalars.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let first = String(line.drop(while: ASCIIText.isSpace).prefix { !ASCIIText.isSpace($0) })
            guard let scalar = first.unicodeScalars.first, scalar != "#", scalar != "!" else { continue }
            // The parser of rules refuses the output of 'ipvsadm -L'.
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
