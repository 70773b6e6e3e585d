public import LoadBalancing
public import ServiceConfiguration

/// Makes a configuration file from the configuration of kernel IPVS: ipvsadm's rules or a keepalived.conf. Remarks name
/// everything that is left out.
public struct Import: Sendable {
    public enum Format: String, CaseIterable, Sendable {
        /// The rules that `ipvsadm -S` prints and `ipvsadm -R` reads, one a line.
        case ipvsadm
        case keepalived
    }

    /// The format of the source. With nil it is recognised.
    public var format: Format?
    /// The listeners whose packets get a firewall mark. The source has only the mark.
    public var marks: [UInt32: [ServiceAddress]]
    /// The configuration id, as of keepalived's --config-id. Lines that begin with `@ID` are for this id only.
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
        /// The configuration file with comments, or nil without any usable service.
        public let text: String?
        /// The remarks in the source's order.
        public let remarks: [ImportRemark]

        /// Whether the configuration behaves as the source did.
        public var isComplete: Bool { text != nil && !remarks.contains(where: \.changesBehaviour) }
    }

    /// Imports a text. `name` is its path in errors and remarks. Included files are relative to its directory.
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

    /// Returns the file's text without the services that the parser refuses, or nil if none is left. A remark gives the
    /// parser's reason for each.
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

    /// Returns the text of a file, or of standard input for "-". Comments may have any encoding. Other text that is not
    /// UTF-8 is an error later.
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
