import ServiceConfiguration
import Testing
import Yams

/// The keys of the configuration file, and the names among their values.
struct ConfigurationKeyTests {
    @Test("the keys and the names among their values are as recorded")
    func keysAndValues() throws {
        try Snapshot.expect(ConfigurationProbe.lines, in: "configuration-file.txt")
    }

    @Test("the recorded keys are accepted together, in a file that uses every one")
    func everyKeyIsAccepted() throws {
        let text = try Snapshot.fixture("every-key.yaml")
        #expect(throws: Never.self) { try ConfigurationFile.parse(text, file: "every-key.yaml") }
        let used = try Self.paths(in: try #require(try Yams.compose(yaml: text)))
        let known = ConfigurationProbe.lines.map { line in
            String(line.prefix { $0 != " " }).replacing("[]", with: "").replacing("{}", with: "")
        }
        #expect(known.filter { !used.contains($0) } == [], "keys that every-key.yaml does not use")
    }

    /// The paths of all keys, without marks of lists; checks with their type.
    private static func paths(in node: Node, at path: String = "") throws -> Set<String> {
        if let sequence = node.sequence {
            return try sequence.reduce(into: []) { paths, item in
                let type = path.hasSuffix("checks") ? item.mapping?["type"]?.string : nil
                paths.formUnion(try Self.paths(in: item, at: path))
                if let type { paths.formUnion(try Self.paths(in: item, at: "\(path)[type=\(type)]")) }
            }
        }
        guard let mapping = node.mapping else { return [] }
        return try mapping.reduce(into: []) { paths, pair in
            let own = (path.isEmpty ? "" : path + ".") + (pair.key.string ?? "")
            paths.insert(own)
            paths.formUnion(try Self.paths(in: pair.value, at: own))
        }
    }
}
