/// The manual page ipvsd.yaml(5), in mdoc(7).
public struct FileManual {
    private let date: String
    private let version: String
    private var lines: [String] = []

    /// Makes the page. `date` has the form of mdoc, such as "March 1, 2026".
    public init(date: String, version: String) {
        self.date = date
        self.version = version
        head()
        list(.file, "THE DIRECTOR", "Keys of the file itself.")
        list(.timeouts, "TIME-OUTS", "Keys of \(Options.timeouts.keyName).")
        list(
            .service, "SERVICES",
            "Keys of each item of \(Options.serviceList.keyName). All but \(Options.listeners.keyName) may also stand in "
                + "\(Options.defaults.keyName).")
        list(.persistence, "PERSISTENCE", "Keys of \(Options.persistenceMapping.keyName), where it is a mapping.")
        list(.server, "REAL SERVERS", "Keys of an item of \(Options.servers.keyName), where it is a mapping.")
        list(.notify, "NOTIFICATION", "Keys of \(Options.notifyMapping.keyName), where it is a mapping.")
        list(
            .check, "CHECKS",
            "Keys of each item of \(Options.checkList.keyName). Those of only some types name the types.")
        tail()
    }

    public var text: String { lines.joined(separator: "\n") + "\n" }

    private mutating func head() {
        lines += [
            ".Dd \(date)", ".Dt IPVSD.YAML 5", ".Os \"ipvsd \(version)\"", ".Sh NAME", ".Nm ipvsd.yaml",
            ".Nd configuration file of the ipvsd load balancer", ".Sh DESCRIPTION",
            "The file is YAML. It makes the same configuration as the flags of", ".Xr ipvsd 8 ,",
            "with checks of every type, and services that differ.",
            "A key that is left out has the default of its flag.",
            "Where a list is accepted, a single value stands for a list of one.", ".Pp",
            ".Ic ipvsd check Ar file", "reports all errors of a file.", ".Ic ipvsd reload",
            "applies the file to the running director.",
        ]
    }

    private mutating func list(_ section: FileSection, _ title: String, _ introduction: String) {
        lines += [".Sh \(title)", Self.escaped(introduction), ".Bl -tag -width 6n"]
        for option in Options.options(of: section) {
            lines.append(".It Ic \(Self.escaped(option.keyName))")
            lines.append(Self.escaped(option.help.fileText))
            let facts = Self.facts(of: option)
            if !facts.isEmpty { lines += [".br"] + facts.map(Self.escaped) }
        }
        lines.append(".El")
    }

    private static func facts(of option: any DeclaredOption) -> [String] {
        let types = option.key?.types.map(\.rawValue).joined(separator: ", ") ?? ""
        let list = option.isList ? " A list is accepted." : ""
        return [
            types.isEmpty ? nil : "Types: \(types).", "Accepted: \(option.accepted).\(list)",
            option.help.standard.map { "Default: \($0)." }, option.flag.map { "Flag: --\($0.name)." },
            option.help.term.map { "Compare: \($0)." },
        ].compactMap(\.self)
    }

    private mutating func tail() {
        lines += [
            ".Sh FILES", ".Bl -tag -width 6n", ".It Pa /etc/ipvsd/ipvsd.yaml",
            "The file that the unit ipvsd.service starts the director with.",
            ".It Pa /usr/share/doc/ipvsd/examples/ipvsd.yaml", "An example.",
            ".It Pa /usr/share/ipvsd/ipvsd.schema.json", "The JSON Schema of the file, for editors.", ".El",
            ".Sh SEE ALSO", ".Xr ipvsd 8 ,", ".Xr ipvsd-check 8 ,", ".Xr ipvsd-reload 8",
        ]
    }

    /// Escapes the characters of the text that roff would interpret.
    private static func escaped(_ text: String) -> String {
        let escaped = text.replacing("\\", with: "\\e").replacing("--", with: "\\-\\-").replacing("…", with: "...")
        return escaped.hasPrefix(".") || escaped.hasPrefix("'") ? "\\&\(escaped)" : escaped
    }
}
