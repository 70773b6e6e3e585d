import Foundation
import Testing
import Yams

@testable import ServiceConfiguration

/// The JSON Schema of the configuration file, compared with the file's parser.
struct FileSchemaTests {
    private let schema: SchemaValidator

    init() throws { schema = try SchemaValidator(FileSchema.text) }

    private func errors(_ yaml: String) throws -> [String] {
        schema.errors(try #require(try Yams.load(yaml: yaml)))
    }

    @Test("the schema accepts examples/ipvsd.yaml")
    func acceptsExample() throws {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../examples/ipvsd.yaml")
        #expect(try errors(String(contentsOf: url.standardizedFileURL, encoding: .utf8)) == [])
    }

    private static let service = "services:\n- listeners: 10.0.0.100:80\n  servers: [10.0.0.11=3:100/50]\n"

    @Test(
        "the schema accepts values that the parser accepts",
        arguments: [
            "slow-start: off", "slow-start: 30s", "quorum: 3/1", "quorum: 3", "notify: /bin/tell",
            "notify: [/bin/tell, x]",
            "notify: {command: /bin/tell, at-start: yes}", "persistence: 5m", "persistence: {netmask: 255.255.255.0}",
            "checks: {type: http, version: 1.1, status: [200, 300-399]}", "checks: [{type: dns, name: ., record: SOA}]",
            "servers: {address: 10.0.0.12, weight: 0}",
        ])
    func acceptsWhatParserAccepts(line: String) throws {
        let base = Self.service.split(separator: "\n").filter { !line.hasPrefix("servers") || !$0.contains("servers") }
        let text = base.joined(separator: "\n") + "\n  " + line
        #expect(ConfigurationFileTests.errors(text).filter { !$0.contains("quorum") } == [])
        #expect(try errors(text) == [])
    }

    @Test(
        "the schema refuses values that the parser refuses",
        arguments: [
            "scheduler: fastest", "rise: 0", "interval: 1", "colour: red", "checks: [{type: ping, port: 1}]",
            "checks: [{port: 1}]", "inhibit: maybe", "persistence: {colour: red}", "weight: 65536",
            "sorry-server: here",
        ])
    func refusesWhatParserRefuses(line: String) throws {
        #expect(ConfigurationFileTests.errors(Self.service + "  " + line) != [])
        #expect(try errors(Self.service + "  " + line) != [])
    }

    /// A mapping of the file. It has a definition in the schema, and ends the text of a file.
    struct Mapping {
        var definition: String?
        var start: String
        var end = ""

        func file(with key: String) -> String { "\(start)\(key): x\(end)" }
    }

    private static func mappings() -> [Mapping] {
        var mappings = [
            Mapping(definition: nil, start: service),
            Mapping(definition: "timeouts", start: service + "timeouts: {", end: "}"),
            Mapping(definition: "defaults", start: service + "defaults: {", end: "}"),
            Mapping(definition: "services", start: service + "  "),
            Mapping(definition: "persistence", start: service + "  persistence: {", end: "}"),
            Mapping(definition: "notify", start: service + "  notify: {", end: "}"),
            Mapping(definition: "servers", start: "services:\n- listeners: 10.0.0.100:80\n  servers: [{", end: "}]"),
        ]
        for type in CheckType.allCases {
            let start = service + "  checks: [{type: \(type.rawValue), "
            mappings.append(Mapping(definition: "check-\(type.rawValue)", start: start, end: "}]"))
        }
        return mappings
    }

    @Test("the schema's keys are those of the parser")
    func keys() throws {
        for mapping in Self.mappings() {
            let errors = ConfigurationFileTests.errors(mapping.file(with: "no-such-key"))
            let unknown = try #require(errors.first { $0.contains("no-such-key: ") })
            let accepted = try #require(unknown.firstRange(of: "(accepted: "))
            let keys = unknown[accepted.upperBound...].dropLast().components(separatedBy: ", ")
            #expect(schema.keys(of: mapping.definition) == Set(keys), "\(mapping.definition ?? "the file")")
        }
        #expect(schema.definitions == Set(Self.mappings().compactMap(\.definition)))
    }

    @Test("every key has a description")
    func descriptions() throws {
        for option in Options.all where option.key != nil {
            #expect(option.help.fileText.hasSuffix("."), "\(option.identity)")
        }
    }
}

/// The manual page of the file.
struct FileManualTests {
    @Test("the page has every key, and starts as man(1) wants it")
    func keys() {
        let page = FileManual(date: "March 1, 2026", version: "1.0").text
        #expect(page.hasPrefix(".Dd March 1, 2026\n.Dt IPVSD.YAML 5\n"))
        let items = Set(page.split(separator: "\n").filter { $0.hasPrefix(".It Ic ") }.map { $0.dropFirst(7) })
        for option in Options.all where option.key != nil { #expect(items.contains(option.keyName[...])) }
        for option in Options.flags where option.key != nil {
            #expect(page.contains("Flag: \\-\\-\(option.flag?.name ?? "")."))
        }
    }
}

/// A validator for the part of JSON Schema that the file's schema uses.
struct SchemaValidator {
    private let root: [String: Any]

    init(_ text: String) throws {
        // JSON is YAML.
        root = try #require(try Yams.load(yaml: text) as? [String: Any])
    }

    var definitions: Set<String> { Set((root["definitions"] as? [String: Any] ?? [:]).keys) }

    /// Returns the keys of a definition's mapping, or of the document for nil.
    func keys(of definition: String?) -> Set<String> {
        let schema = definition.map { (root["definitions"] as? [String: Any])?[$0] as? [String: Any] ?? [:] } ?? root
        return Set((schema["properties"] as? [String: Any] ?? [:]).keys)
    }

    func errors(_ value: Any) -> [String] { errors(value, root, at: "") }

    private func errors(_ value: Any, _ schema: [String: Any], at path: String) -> [String] {
        if let reference = schema["$ref"] as? String {
            let name = String(reference.dropFirst("#/definitions/".count))
            return errors(value, (root["definitions"] as? [String: Any])?[name] as? [String: Any] ?? [:], at: path)
        }
        var errors: [String] = []
        if let choices = schema["anyOf"] as? [[String: Any]] {
            let found = choices.map { self.errors(value, $0, at: path) }
            if !found.contains([]) { errors += found.min { $0.count < $1.count } ?? [] }
        }
        let types = (schema["type"] as? [String]) ?? (schema["type"] as? String).map { [$0] } ?? []
        if !types.isEmpty, !types.contains(Self.type(of: value)) { return errors + ["\(path): no \(types)"] }
        let choices = schema["enum"] as? [Any] ?? schema["const"].map { [$0] } ?? []
        if !choices.isEmpty, !choices.contains(where: { Self.text($0) == Self.text(value) }) {
            errors.append("\(path): none of \(choices)")
        }
        if let text = value as? String, let pattern = schema["pattern"] as? String,
            (try? Regex(pattern).firstMatch(in: text)) ?? nil == nil
        {
            errors.append("\(path): \(text) does not match \(pattern)")
        }
        if let number = value as? Int {
            if let least = schema["minimum"] as? Int, number < least { errors.append("\(path): below \(least)") }
            if let most = schema["maximum"] as? Int, number > most { errors.append("\(path): above \(most)") }
        }
        if let list = value as? [Any], let items = schema["items"] as? [String: Any] {
            for (index, item) in list.enumerated() { errors += self.errors(item, items, at: "\(path)[\(index)]") }
        }
        if let mapping = value as? [String: Any] { errors += self.errors(mapping: mapping, schema, at: path) }
        return errors
    }

    private func errors(mapping: [String: Any], _ schema: [String: Any], at path: String) -> [String] {
        guard let properties = schema["properties"] as? [String: Any] else { return [] }
        let missing = (schema["required"] as? [String] ?? []).filter { mapping[$0] == nil }
        return missing.map { "\(path): no \($0)" }
            + mapping.flatMap { key, value in
                (properties[key] as? [String: Any]).map { errors(value, $0, at: "\(path).\(key)") }
                    ?? ["\(path): \(key) is unknown"]
            }
    }

    private static func type(of value: Any) -> String {
        switch value {
        case is Bool: "boolean"
        case is Int: "integer"
        case is Double: "number"
        case is String: "string"
        case is [Any]: "array"
        default: "object"
        }
    }

    /// Returns the text by which values of an enumeration are compared.
    private static func text(_ value: Any) -> String {
        let number = (value as? Int).map(Double.init) ?? value as? Double
        return number.map { "number \($0)" } ?? "\(type(of: value)) \(value)"
    }
}
