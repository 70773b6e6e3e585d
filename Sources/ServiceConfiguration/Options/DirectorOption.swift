/// The declaration of a director's option: flag, key in the configuration file, value, default and help.
public struct DirectorOption<Value: Sendable>: DeclaredOption {
    public let flag: OptionFlag?
    public let key: FileKey?
    public let help: OptionHelp
    public let syntax: ValueSyntax<Value>
    /// The default value. It is nil if there is none, or if other options decide it.
    public let standard: Value?
    public let isList: Bool

    /// Declares an option. `name` is the name of both flag and key, unless `flag` or `key` has a name of its own.
    init(
        _ name: String? = nil, flag: OptionFlag? = nil, key: String? = nil, in sections: [FileSection] = [],
        of types: [CheckType] = [], list: Bool = false, holds: FileSection? = nil, _ syntax: ValueSyntax<Value>,
        standard: Value? = nil, help: OptionHelp
    ) {
        self.flag = name.flatMap { name in flag?.named(name) } ?? flag
        self.key = (key ?? name).map { FileKey(name: $0, sections: sections, types: types, holds: holds) }
        self.syntax = syntax
        self.standard = standard
        isList = list
        var help = help
        help.standard = help.standard ?? standard.map(syntax.format)
        self.help = help
    }

    public var accepted: String { syntax.accepted }

    /// Returns the flag and the value's text as two words of a command line.
    public func arguments(_ value: Value) -> [String] { [flagName, syntax.format(value)] }

    /// Returns the flag and the value's text, separated by a space.
    public func argument(_ value: Value) -> String { arguments(value).joined(separator: " ") }

    /// Returns the key and the value as a line of the file.
    public func field(_ value: Value) -> String { "\(keyName): \(YAMLText.scalar(syntax.format(value)))" }
}

/// An option whose value is a text, or a list of texts.
protocol ParsedOption: DeclaredOption {
    /// The JSON Schema of one value.
    var schema: JSONValue { get }

    /// Notes errors in the option's value in a mapping of the file.
    func noteBadValues(in section: YAMLSection, _ findings: inout Findings)
}

extension DirectorOption: ParsedOption {
    var schema: JSONValue { syntax.schema }

    func noteBadValues(in section: YAMLSection, _ findings: inout Findings) {
        if isList { _ = section.values(of: self, &findings) } else { _ = section.value(of: self, &findings) }
    }
}

/// An option without its value's type, for help texts, manual pages, the schema and errors.
public protocol DeclaredOption: Sendable {
    /// The flag, or nil if the command line lacks the option.
    var flag: OptionFlag? { get }
    /// The key, or nil if the file lacks the option.
    var key: FileKey? { get }
    var help: OptionHelp { get }
    /// The accepted values, in words.
    var accepted: String { get }
    /// Whether several values are accepted, by a repeated flag or by a list.
    var isList: Bool { get }
}

extension DeclaredOption {
    /// The option's unique name: the key with its first section and its types of checks, or else the flag.
    var identity: String { key.map { "\($0.sections.first.map { "\($0)" } ?? "").\($0.name).\($0.types)" } ?? flagName }

    /// The flag with its dashes, or an empty text if the option has no flag.
    public var flagName: String { flag.map { "--\($0.name)" } ?? "" }

    /// The flag's short name with its dash, or an empty text if there is none.
    public var shortFlagName: String { flag?.short.map { "-\($0)" } ?? "" }

    /// The key, or an empty text if the option has no key.
    public var keyName: String { key?.name ?? "" }

    /// The flag's text in `--help`, with the default in ArgumentParser's manner.
    public var flagHelp: String {
        [
            help.text, flag?.repeats == true ? "Repeats, or takes commas." : nil, help.term.map { "(\($0))" },
            flag?.valueName == nil ? nil : help.standard.map { "(default: \($0))" },
        ].compactMap(\.self).joined(separator: " ")
    }
}

/// The help texts of an option.
public struct OptionHelp: Sendable, ExpressibleByStringLiteral, ExpressibleByStringInterpolation {
    var text: String
    /// The help text of the key where the flag means the opposite or has another form. Nil means that `text` is for
    /// both.
    var keyText: String?
    /// The default in words, or nil if there is none.
    var standard: String?
    /// The option's name in ipvsadm, keepalived or IPVS, or nil.
    var term: String?

    init(_ text: String, key keyText: String? = nil, standard: String? = nil, term: String? = nil) {
        self.text = text
        self.keyText = keyText
        self.standard = standard
        self.term = term
    }

    public init(stringLiteral text: String) { self.init(text) }

    /// The help text of the key.
    var fileText: String { keyText ?? text }
}

/// An option's form on the command line.
public struct OptionFlag: Sendable {
    /// The name without its dashes.
    public private(set) var name: String
    public let short: Character?
    /// The placeholder of the value in help texts, or nil for a flag without a value.
    public let valueName: String?
    /// Whether the flag may be repeated, and its value may be a list with commas.
    public let repeats: Bool
    /// The option's value if a flag without a value is present. It is false for a flag such as `--no-address`.
    public let presence: Bool
    public let topic: OptionTopic

    /// Makes a flag that takes a value. An empty `name` means the option's name.
    static func value(
        _ topic: OptionTopic, _ valueName: String, name: String = "", short: Character? = nil, repeats: Bool = false
    ) -> OptionFlag {
        OptionFlag(
            name: name, short: short, valueName: valueName, repeats: repeats, presence: true, topic: topic)
    }

    /// Makes a flag without a value. `value` is the option's value if the flag is present.
    static func presence(_ topic: OptionTopic, _ name: String = "", means value: Bool = true) -> OptionFlag {
        OptionFlag(name: name, short: nil, valueName: nil, repeats: false, presence: value, topic: topic)
    }

    fileprivate func named(_ name: String) -> OptionFlag {
        var flag = self
        if flag.name.isEmpty { flag.name = name }
        return flag
    }
}

/// The groups of flags in help texts.
public enum OptionTopic: String, CaseIterable, Sendable {
    case services = "Virtual services and real servers"
    case scheduling = "Scheduling"
    case checks = "Health checks"
    case recovery = "Failure and recovery"
    case network = "Network"
    case connections = "Connections"
    case events = "Events, metrics and log"
}

/// An option's place in the configuration file.
public struct FileKey: Hashable, Sendable {
    public let name: String
    let sections: [FileSection]
    /// The types of checks that have the key. If empty, all types have it.
    let types: [CheckType]
    /// The section whose keys the value has if it is a mapping, or nil if the value cannot be a mapping.
    var holds: FileSection?
    /// The inner key whose value may stand alone in place of the whole mapping, such as `timeout` of `persistence`, or
    /// nil.
    var shorthand: String?
}

/// The mappings of the configuration file.
enum FileSection: CaseIterable, Sendable {
    case file, timeouts, defaults, service, persistence, server, notify, check
}

/// A key of the configuration file whose value is a mapping, or a list of mappings.
public struct FileMapping: DeclaredOption {
    public let key: FileKey?
    public let help: OptionHelp
    public let isList: Bool
    private let holds: FileSection

    public var flag: OptionFlag? { nil }

    init(
        _ name: String, in sections: [FileSection], list: Bool = false, holds: FileSection,
        shorthand: (any DeclaredOption)? = nil, help: OptionHelp
    ) {
        key = FileKey(name: name, sections: sections, types: [], holds: holds, shorthand: shorthand?.keyName)
        self.help = help
        isList = list
        self.holds = holds
    }

    public var accepted: String {
        let mapping = "a mapping of \(Options.keys(of: holds).joined(separator: ", "))"
        return (key?.shorthand).map { "\($0) alone, or \(mapping)" } ?? mapping
    }
}

/// A key of the configuration file whose value is a mapping with keys of the operator's choice.
struct FileTexts: DeclaredOption {
    let key: FileKey?
    let help: OptionHelp

    var flag: OptionFlag? { nil }
    var isList: Bool { false }
    var accepted: String { "KEY: VALUE lines" }

    init(_ name: String, of types: [CheckType], help: OptionHelp) {
        key = FileKey(name: name, sections: [.check], types: types)
        self.help = help
    }
}
