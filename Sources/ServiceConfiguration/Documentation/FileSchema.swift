/// The JSON Schema of the configuration file, by which editors complete keys and mark errors.
public enum FileSchema {
    public static var text: String { document.text() + "\n" }

    private static var document: JSONValue {
        let sections = FileSection.allCases.filter { $0 != .file && $0 != .check }.map { section in
            (name(of: section), object(Options.options(of: section), required: required(in: section)))
        }
        let checks = CheckType.allCases.map { ("check-\($0.rawValue)", check($0)) }
        return .object(
            [
                ("$schema", "http://json-schema.org/draft-07/schema#"),
                ("title", "The configuration file of ipvsd"),
            ] + members(Options.options(of: FileSection.file), required: required(in: .file)) + [
                ("definitions", .object((sections + checks).map { (name: $0.0, value: $0.1) }))
            ])
    }

    /// Returns the name of a section's definition, which is the key of the mapping that holds the section.
    private static func name(of section: FileSection) -> String {
        Options.all.first { $0.key?.holds == section }?.keyName ?? ""
    }

    private static func required(in section: FileSection) -> [any DeclaredOption] {
        switch section {
        case .file: [Options.serviceList]
        case .service: [Options.listeners]
        case .server: [Options.serverAddress]
        case .notify: [Options.notify]
        default: []
        }
    }

    private static func check(_ type: CheckType) -> JSONValue {
        let required: [any DeclaredOption] =
            switch type {
            case .dns: [Options.dnsName]
            case .script: [Options.command]
            case .file: [Options.filePath]
            default: []
            }
        return object(Options.options(of: type), required: [Options.checkType] + required, type: type)
    }

    private static func object(
        _ options: [any DeclaredOption], required: [any DeclaredOption], type: CheckType? = nil
    ) -> JSONValue {
        .object(members(options, required: required, type: type))
    }

    private static func members(
        _ options: [any DeclaredOption], required: [any DeclaredOption], type: CheckType? = nil
    ) -> [(name: String, value: JSONValue)] {
        let properties = options.map { option -> (name: String, value: JSONValue) in
            guard let type, option.keyName == Options.checkType.keyName else {
                return (option.keyName, property(option))
            }
            return (option.keyName, ["const": .string(type.rawValue)])
        }
        return [
            ("type", "object"), ("properties", .object(properties)), ("additionalProperties", .bool(false)),
            ("required", .array(required.map { .string($0.keyName) })),
        ]
    }

    /// Returns the schema of the values of an option's key. The option's help is the description.
    private static func property(_ option: any DeclaredOption) -> JSONValue {
        var values = (option as? any ParsedOption).map { [$0.schema] } ?? []
        if option is FileTexts { values.append(["type": "object", "additionalProperties": .scalar]) }
        if let holds = option.key?.holds {
            let shorthand = Options.options(of: holds).first { $0.keyName == option.key?.shorthand }
            if let shorthand, let parsed = shorthand as? any ParsedOption {
                values.append(shorthand.isList ? .oneOrMore(parsed.schema) : parsed.schema)
            }
            let names = holds == .check ? CheckType.allCases.map { "check-\($0.rawValue)" } : [name(of: holds)]
            values += names.map { ["$ref": .string("#/definitions/\($0)")] }
        }
        let value = values.count == 1 ? values[0] : ["anyOf": .array(values)]
        return (option.isList ? .oneOrMore(value) : value).described(option.help.fileText)
    }
}

extension JSONValue {
    /// Returns the schema of either one value or a list of values. `value` is the schema of each value.
    fileprivate static func oneOrMore(_ value: JSONValue) -> JSONValue {
        ["anyOf": .array([value, ["type": "array", "items": value]])]
    }

    fileprivate func described(_ text: String) -> JSONValue {
        guard case .object(let members) = self else { return self }
        return .object([("description", .string(text))] + members)
    }
}
