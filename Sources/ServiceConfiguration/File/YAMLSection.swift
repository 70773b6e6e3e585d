internal import Yams

/// A mapping of a configuration file: values by key, and where they stand. What it does not have is looked for in
/// `defaults`.
struct YAMLSection {
    let file: String
    let place: String
    private var items: [String: YAMLItem] = [:]

    /// Nil, after the error, where the node is no mapping. Keys beside `keys` are errors; `problem` says what is wrong with
    /// one, where that is known better.
    init?(
        _ node: Node, place: String, file: String, keys: [String], problem: (_ key: String) -> String? = { _ in nil },
        _ findings: inout Findings
    ) {
        self.file = file
        self.place = place
        guard let mapping = node.mapping else {
            findings.add(place, "no mapping", accepted: keys.joined(separator: ", "))
            return nil
        }
        for (key, value) in mapping {
            let name = key.scalar?.string ?? ""
            let place = Self.place(name, line: key.mark?.line, file: file)
            guard keys.contains(name) else {
                findings.add(place, problem(name) ?? "unknown key", accepted: keys.joined(separator: ", "))
                continue
            }
            items[name] = YAMLItem(place: place, node: value)
        }
    }

    private init(file: String, place: String, items: [String: YAMLItem]) {
        self.file = file
        self.place = place
        self.items = items
    }

    static func place(_ key: String, line: Int?, file: String) -> String { "\(file):\(line ?? 1): \(key)" }

    /// With the defaults' values for keys that it lacks, save for `apart`.
    func inheriting(from defaults: YAMLSection?, apart: Set<String> = []) -> YAMLSection {
        guard let defaults else { return self }
        let inherited = defaults.items.filter { !apart.contains($0.key) }
        return YAMLSection(file: file, place: place, items: items.merging(inherited) { own, _ in own })
    }

    func has(_ key: String) -> Bool { items[key] != nil }

    subscript(key: String) -> YAMLItem? { items[key] }

    func value<Value>(
        _ key: String, _ findings: inout Findings, _ body: (String) throws(InvalidValue) -> Value
    ) -> Value? {
        items[key]?.value(&findings, body)
    }

    func text(_ key: String, _ findings: inout Findings) -> String? { items[key]?.text(&findings) }

    func section(_ key: String, keys: [String], _ findings: inout Findings) -> YAMLSection? {
        items[key].flatMap { YAMLSection($0.node, place: $0.place, file: file, keys: keys, &findings) }
    }

    /// The items of a list, or the single value that stands for a list of one; nil where there is neither.
    func list(_ key: String) -> [YAMLItem]? {
        guard let item = items[key] else { return nil }
        guard let sequence = item.node.sequence else { return [item] }
        return sequence.map { YAMLItem(place: Self.place(key, line: $0.mark?.line, file: file), node: $0) }
    }

    /// Texts by their keys, of a mapping whose keys are free.
    func texts(_ key: String, _ findings: inout Findings) -> [(key: String, value: String)] {
        guard let item = items[key] else { return [] }
        guard let mapping = item.node.mapping else {
            findings.add(item.described, "no mapping", accepted: "KEY: VALUE lines")
            return []
        }
        return mapping.compactMap { name, value in
            guard let name = name.scalar?.string, let text = value.scalar?.string else {
                let place = Self.place(key, line: value.mark?.line, file: file)
                findings.add(place, "no text", accepted: "KEY: VALUE lines")
                return nil
            }
            return (name, text)
        }
    }

    // MARK: Kinds of values

    func choice<Choice: CaseIterable & RawRepresentable<String>>(
        _ key: String, called name: String, _ findings: inout Findings
    ) -> Choice? {
        value(key, &findings) { text throws(InvalidValue) in
            guard let choice = Choice(rawValue: text) else {
                throw InvalidValue("unknown \(name)", accepted: AddressText.choices(of: Choice.self))
            }
            return choice
        }
    }

    func flag(_ key: String, _ findings: inout Findings) -> Bool? {
        value(key, &findings) { text throws(InvalidValue) in
            // YAML 1.1's words.
            switch text.lowercased() {
            case "true", "yes", "on": true
            case "false", "no", "off": false
            default: throw InvalidValue("neither yes nor no", accepted: "true or false")
            }
        }
    }

    func number(
        _ key: String, in range: ClosedRange<Int>, problem: String, _ findings: inout Findings
    ) -> Int? {
        value(key, &findings) { text throws(InvalidValue) in
            try AddressText.number(text, in: range, problem: problem)
        }
    }

    func duration(_ key: String, _ findings: inout Findings) -> Duration? {
        value(key, &findings) { text throws(InvalidValue) in try DurationText.parse(text) }
    }

    func seconds(_ key: String, in range: ClosedRange<Int>, _ findings: inout Findings) -> Int? {
        value(key, &findings) { text throws(InvalidValue) in
            let duration = try DurationText.parse(
                text, in: .seconds(range.lowerBound) ... .seconds(range.upperBound))
            guard duration.components.attoseconds == 0 else {
                throw InvalidValue("finer than a second", accepted: "whole seconds")
            }
            return Int(duration.components.seconds)
        }
    }
}
