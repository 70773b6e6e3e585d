import ServiceConfiguration

/// Finds the keys and values of the configuration file by the parser's errors about unknown ones.
struct ConfigurationProbe {
    /// A mapping of the file.
    struct Section {
        /// The section's place, as in `services[].checks[]`; empty for the file itself.
        var path: String
        /// Makes a whole file that has the key, with the value, in this section and is right otherwise.
        var file: (_ key: String, _ value: String) -> String

        func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }
    }

    private static let unknownKey = "no-such-key"
    private static let unknownValue = "no-such-value"
    private static let notSingle = "no single value"
    private static let noMapping = "no mapping"

    /// Values that errors do not always name.
    private static let commonValues = ["none", "off", "yes", "no", "on"]

    /// The keys without which the parser does not read a section's other keys.
    private static let needed = [
        "services[]": [("listeners", "[10.0.0.100:80, 10.0.0.100:53/udp]"), ("servers", "10.0.0.11")],
        "services[].servers[]": [("address", "10.0.0.11")],
        "services[].notify": [("command", "/bin/true")],
        "services[].checks[]": [("type", "tcp")],
        "services[].checks[type=dns]": [("name", "example.org")],
        "services[].checks[type=script]": [("command", "/bin/true")],
    ]
    /// Values of another key that a key needs beside it.
    private static let companions = [
        "sched-flags": ["scheduler: sh", "scheduler: mh"], "lower-threshold": ["upper-threshold: 100"],
    ]

    /// A line for each key, with the names that it accepts as values.
    static let lines = ConfigurationProbe().lines()

    private func lines() -> [String] {
        let top = Section(path: "") { key, value in
            let services = key == "services" ? [] : ["services: [{\(Self.mapping("services[]"))}]"]
            return (["\(key): \(value)"] + services).joined(separator: "\n")
        }
        return lines(of: top)
    }

    private static func mapping(_ path: String, _ key: String? = nil, _ value: String = "") -> String {
        let items = needed[path, default: []].filter { $0.0 != key } + (key.map { [($0, value)] } ?? [])
        return items.map { "\($0): \($1)" }.joined(separator: ", ")
    }

    private func lines(of section: Section) -> [String] {
        keys(of: section).flatMap { key -> [String] in
            if section.path.isEmpty && key == "defaults" { return defaults(of: section) }
            return lines(of: key, in: section)
        }
    }

    /// The keys of `defaults` are those of a service: the names alone.
    private func defaults(of top: Section) -> [String] {
        let section = Section(path: "defaults") { key, value in top.file("defaults", "{\(key): \(value)}") }
        return keys(of: section).map(section.path(of:))
    }

    private func lines(of key: String, in section: Section) -> [String] {
        let path = section.path(of: key)
        let sections = section.file(key, "[{a: x}, {b: x}]")
        let isListOfSections = !unknown("a", sections).isEmpty && !unknown("b", sections).isEmpty
        let isList = isListOfSections || !has([Self.notSingle, Self.noMapping], key, files(section, key, "[a, b]"))
        let isFreeMapping =
            !has(nil, key, files(section, key, "{a: b}")) && unknown("a", section.file(key, "{a: b}")).isEmpty
        let name = path + (isList ? "[]" : isFreeMapping ? "{}" : "")
        let takesValue = !has([Self.noMapping], key, files(section, key, Self.unknownValue))
        let values = takesValue ? values(of: key, in: section) : []
        let own =
            takesValue || isFreeMapping ? [name + (values.isEmpty ? "" : " = " + values.joined(separator: ", "))] : []
        return own + inner(of: key, in: section, path: name, isList: isListOfSections)
    }

    /// The lines of the mappings that the key takes.
    private func inner(of key: String, in section: Section, path: String, isList: Bool) -> [String] {
        let path = isList ? path : section.path(of: key)
        let inner = Section(path: path) { inner, value in
            let mapping = "{\(Self.mapping(path, inner, value))}"
            return section.file(key, isList ? "[\(mapping)]" : mapping)
        }
        guard !keys(of: inner).isEmpty else { return [] }
        return key == "checks" ? checks(inner) : lines(of: inner)
    }

    /// The keys of every check, and those of each type.
    private func checks(_ section: Section) -> [String] {
        let types = values(of: "type", in: section)
        let sections = types.map { type in
            let path = section.path.dropLast(2) + "[type=\(type)]"
            return Section(path: String(path)) { key, value in
                let others = Self.needed[String(path), default: []].filter { $0.0 != key }
                let before = others.map { "\($0): \($1), " }.joined()
                return section.file("type", "\(type), \(before)\(key): \(value)")
            }
        }
        let keysOfTypes = sections.map { keys(of: $0) }
        let common =
            keysOfTypes.first.map { keys in
                keys.filter { key in keysOfTypes.allSatisfy { $0.contains(key) } }
            } ?? []
        return common.flatMap { lines(of: $0, in: section) }
            + zip(sections, keysOfTypes).flatMap { section, keys in
                keys.filter { !common.contains($0) }.flatMap { lines(of: $0, in: section) }
            }
    }

    // MARK: Questions

    /// The keys that the section accepts, as the error about an unknown one names them; none where there is no section.
    private func keys(of section: Section) -> [String] {
        unknown(Self.unknownKey, section.file(Self.unknownKey, "x")).first.map { error in
            error.accepted.split(separator: ", ").map(String.init)
        } ?? []
    }

    /// The names among the key's values: what the error about an unknown value names, and the parser accepts.
    private func values(of key: String, in section: Section) -> [String] {
        let unknown = files(section, key, Self.unknownValue).flatMap { errors($0, of: key) }
        guard let error = unknown.first else { return [] }
        let words = error.accepted.split { $0 == "," || $0.isWhitespace }.map(String.init)
        let isChoice = error.accepted.split(separator: ", ").allSatisfy { !$0.contains(where: \.isWhitespace) }
        var names: [String] = []
        for word in words + Self.commonValues where !names.contains(word) {
            let first = word.first.map { $0.isLetter || isChoice && $0.isNumber } ?? false
            guard first, word.allSatisfy({ $0.isLetter || $0.isNumber || "-.".contains($0) }) else { continue }
            if files(section, key, word).contains(where: { errors($0, of: key).isEmpty }) { names.append(word) }
        }
        return names
    }

    /// Files with the key and the value, one for each value of the key's companion.
    private func files(_ section: Section, _ key: String, _ value: String) -> [String] {
        guard let companions = Self.companions[key], !section.path.isEmpty else { return [section.file(key, value)] }
        return companions.map { section.file(key, "\(value), \($0)") }
    }

    /// Whether a file has an error about the key: one of the problems, or any.
    private func has(_ problems: [String]?, _ key: String, _ files: [String]) -> Bool {
        files.contains { file in errors(file, of: key).contains { problems?.contains($0.problem) ?? true } }
    }

    /// The errors about an unknown key.
    private func unknown(_ key: String, _ file: String) -> [ConfigurationError] {
        errors(file, of: key).filter { $0.problem == "unknown key" }
    }

    /// The errors about a key: they begin with `file:LINE: KEY`.
    private func errors(_ file: String, of key: String) -> [ConfigurationError] {
        do {
            _ = try ConfigurationFile.parse(file, file: "file")
            return []
        } catch {
            return error.errors.filter { error in
                let parts = error.place.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
                return parts.count == 3 && (parts[2] + " ").hasPrefix(" \(key) ")
            }
        }
    }
}
