/// The declaration of a director's option: flag, key in the configuration file, value, default and help.
public struct DirectorOption<Value: Sendable>: DeclaredOption {
    public let flag: OptionFlag?
    public let key: FileKey?
    public let help: OptionHelp
    public let syntax: ValueSyntax<Value>
    /// The default. It is nil if there is none, or if other values decide it.
    public let standard: Value?
    public let isList: Bool

    /// Declares an option. `name` is the name of flag and key, unless these have names of their own.
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

    /// Returns the flag and the value as one text.
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
    /// The option's unique name: its key with the first section that has it, or its flag.
    var identity: String { key.map { "\($0.sections.first.map { "\($0)" } ?? "").\($0.name).\($0.types)" } ?? flagName }

    /// The flag with its dashes, or an empty text.
    public var flagName: String { flag.map { "--\($0.name)" } ?? "" }

    /// The flag's short name with its dash, or an empty text.
    public var shortFlagName: String { flag?.short.map { "-\($0)" } ?? "" }

    /// The key, or an empty text.
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
    /// The key's meaning, where the flag means the opposite or has another form.
    var keyText: String?
    /// The default, in words.
    var standard: String?
    /// The option's name in ipvsadm or keepalived.
    var term: String?

    init(_ text: String, key keyText: String? = nil, standard: String? = nil, term: String? = nil) {
        self.text = text
        self.keyText = keyText
        self.standard = standard
        self.term = term
    }

    public init(stringLiteral text: String) { self.init(text) }

    /// The text about the key.
    var fileText: String { keyText ?? text }
}

/// An option's form on the command line.
public struct OptionFlag: Sendable {
    /// The name without its dashes.
    public private(set) var name: String
    public let short: Character?
    /// The placeholder of the value in help texts, or nil for a flag without a value.
    public let valueName: String?
    /// Whether the flag repeats, and its value can be several, separated by commas.
    public let repeats: Bool
    /// The value of a flag that is typed without one.
    public let presence: Bool
    public let topic: OptionTopic

    /// Makes a flag with a value. Without a name it has the key's.
    static func value(
        _ topic: OptionTopic, _ valueName: String, name: String = "", short: Character? = nil, repeats: Bool = false
    ) -> OptionFlag {
        OptionFlag(
            name: name, short: short, valueName: valueName, repeats: repeats, presence: true, topic: topic)
    }

    /// Makes a flag without a value. `value` is its meaning.
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
    /// The keys of the value, if it can be a mapping, or nil.
    var holds: FileSection?
    /// The key of the inner mapping whose value can replace the whole mapping.
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
