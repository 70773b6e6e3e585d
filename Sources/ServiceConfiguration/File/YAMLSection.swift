internal import LoadBalancing
internal import Yams

/// A mapping of a configuration file, with the places of its values. A service's mapping inherits from the defaults.
struct YAMLSection {
    let file: String
    let place: String
    private let section: FileSection
    /// The items by key. The key of an item in an inner mapping has both names, as in `timeouts.tcp`.
    private var items: [String: YAMLItem] = [:]
    private var inherited: Set<String> = []

    /// Reads a mapping that can have the keys of `section`, or, for a check, the keys of `type`. Notes an error for
    /// each unknown key. If the node is not a mapping, notes the error and returns nil.
    init?(
        _ node: Node, _ section: FileSection, type: CheckType? = nil, place: String, file: String,
        _ findings: inout Findings
    ) {
        self.file = file
        self.place = place
        self.section = section
        let options = type.map(Options.options(of:)) ?? Options.options(of: section)
        let keys = options.map(\.keyName).uniqued()
        guard let mapping = node.mapping else {
            findings.add(place, "no mapping", accepted: keys.joined(separator: ", "))
            return nil
        }
        for (key, value) in mapping {
            let name = key.scalar?.string ?? ""
            let item = YAMLItem(key: name, file: file, line: key.mark?.line, node: value)
            guard let option = options.first(where: { $0.keyName == name }) else {
                let isOfOthers = Options.options(of: section).contains { $0.keyName == name }
                let problem = type.flatMap { isOfOthers ? "not of a check of type \($0.rawValue)" : nil }
                findings.add(item.place, problem ?? "unknown key", accepted: keys.joined(separator: ", "))
                continue
            }
            items[name] = item
            if let key = option.key, let holds = key.holds, !option.isList, holds != .defaults {
                addMapping(item, key, holds, &findings)
            }
        }
    }

    /// Adds the items of an inner mapping, or a value that stands in place of the mapping.
    private mutating func addMapping(
        _ item: YAMLItem, _ key: FileKey, _ holds: FileSection, _ findings: inout Findings
    ) {
        let shorthand = Options.options(of: holds).first { $0.keyName == key.shorthand }
        if let shorthand, item.node.scalar != nil || (item.node.sequence != nil && shorthand.isList) {
            items["\(key.name).\(shorthand.keyName)"] = item
            return
        }
        let inner = YAMLSection(item.node, holds, place: item.place, file: file, &findings)
        for (name, value) in inner?.items ?? [:] { items["\(key.name).\(name)"] = value }
    }

    /// Returns the section with the defaults' values for missing keys, except for the options of `excluded`.
    func inheriting(from defaults: YAMLSection?, excluding excluded: [any DeclaredOption] = []) -> YAMLSection {
        guard let defaults else { return self }
        let excluded = Set(excluded.map(\.keyName))
        var section = self
        for (path, item) in defaults.items {
            let root = String(path.prefix { $0 != "." })
            guard items[root] == nil, !excluded.contains(root) else { continue }
            section.items[path] = item
            section.inherited.insert(path)
        }
        return section
    }

    private func path(of option: any DeclaredOption) -> String {
        guard let mapping = Options.mapping(around: option, in: section) else { return option.keyName }
        return "\(mapping.name).\(option.keyName)"
    }

    subscript(option: any DeclaredOption) -> YAMLItem? { items[path(of: option)] }

    /// Returns the items of a list, or a single value as a list of one. Returns nil if the key is missing.
    func items(of option: any DeclaredOption) -> [YAMLItem]? { self[option]?.items }

    func mapping(_ option: FileMapping, _ findings: inout Findings) -> YAMLSection? {
        guard let item = self[option], let holds = option.key?.holds else { return nil }
        return YAMLSection(item.node, holds, place: item.place, file: file, &findings)
    }

    /// Returns the texts of a mapping with keys of the operator's choice.
    func texts(of option: FileTexts, _ findings: inout Findings) -> [(key: String, value: String)] {
        guard let item = self[option] else { return [] }
        guard let mapping = item.node.mapping else {
            findings.add(item.described, "no mapping", accepted: option.accepted)
            return []
        }
        return mapping.compactMap { name, value in
            guard let name = name.scalar?.string, let text = value.scalar?.string else {
                let place = YAMLItem.place(item.key, line: value.mark?.line, file: file)
                findings.add(place, "no text", accepted: option.accepted)
                return nil
            }
            return (name, text)
        }
    }

    /// Notes errors in the values of all keys that cannot hold a mapping.
    func noteBadValues(_ findings: inout Findings) {
        for option in Options.options(of: section) where has(option) && option.key?.holds == nil {
            (option as? any ParsedOption)?.noteBadValues(in: self, &findings)
        }
    }
}

extension YAMLSection: OptionSource {
    static var listenerName: String { "listener" }

    func item<Value>(of option: DirectorOption<Value>) -> SourceItem<Value>? { self[option]?.value(of: option) }

    func list<Value>(of option: DirectorOption<Value>, _ findings: inout Findings) -> [SourceItem<Value>]? {
        guard let items = items(of: option), !items.isEmpty else { return nil }
        return items.map { $0.value(of: option) }
    }

    /// Returns the real servers. Each is a single value or a mapping.
    func writtenServers(_ findings: inout Findings) -> [SourceItem<WrittenServer>]? {
        guard let items = items(of: Options.servers), !items.isEmpty else { return nil }
        return items.compactMap { item in
            guard item.node.scalar == nil else { return item.value(of: Options.servers) }
            let own = YAMLSection(item.node, .server, place: item.place, file: file, &findings)
            return own?.writtenServer(&findings).map { SourceItem(place: item.place, value: .success($0)) }
        }
    }

    private func writtenServer(_ findings: inout Findings) -> WrittenServer? {
        guard has(Options.serverAddress) else {
            findings.add(
                place, "a real server without \(Options.serverAddress.keyName)",
                accepted: "\(Options.serverAddress.keyName): \(Options.serverAddress.accepted)")
            return nil
        }
        let address = value(of: Options.serverAddress, &findings)
        let weight = value(of: Options.weight, &findings).map(UInt16.init)
        let hasThresholds = has(Options.upperThreshold) || has(Options.lowerThreshold)
        let thresholds = hasThresholds ? ConnectionThresholds??.some(thresholds(&findings)) : nil
        return address.map { WrittenServer(address: $0, weight: weight, thresholds: thresholds) }
    }

    func has(_ option: any DeclaredOption) -> Bool { self[option] != nil }

    func hasMapping(around option: any DeclaredOption) -> Bool {
        Options.mapping(around: option, in: section).map { items[$0.name] != nil } ?? false
    }

    func isInherited(_ option: any DeclaredOption) -> Bool { inherited.contains(path(of: option)) }

    /// Returns the place of the first option that is present, or else the section's place.
    func place(of options: any DeclaredOption...) -> String {
        options.lazy.compactMap { self[$0]?.described }.first ?? place
    }

    func name(of option: any DeclaredOption) -> String { option.keyName }

    func noteMissing(_ option: any DeclaredOption, _ findings: inout Findings) {
        let keys = (option.key?.holds).map { Options.keys(of: $0).prefix(2).map { "\($0):" } } ?? []
        let accepted = option.accepted + (keys.isEmpty ? "" : ", or \(keys.joined(separator: " and "))")
        findings.add(place, "no \(option.keyName)", accepted: "\(option.keyName): \(accepted)")
    }
}

extension [String] {
    /// Returns the texts without repetitions, in their order.
    fileprivate func uniqued() -> [String] {
        var seen: Set<String> = []
        return filter { seen.insert($0).inserted }
    }
}

/// A value of a configuration file, with its place.
struct YAMLItem {
    let key: String
    let file: String
    let line: Int?
    let node: Node

    /// The place, as `FILE:LINE: KEY`.
    var place: String { Self.place(key, line: line, file: file) }

    /// The beginning of errors: the place, and a single value's text.
    var described: String { node.scalar.map { "\(place) \(AddressText.quoted($0.string))" } ?? place }

    /// The items of a list. A single value is a list of one.
    var items: [YAMLItem] {
        guard let sequence = node.sequence else { return [self] }
        return sequence.map { YAMLItem(key: key, file: file, line: $0.mark?.line, node: $0) }
    }

    func value<Value>(of option: DirectorOption<Value>) -> SourceItem<Value> {
        guard let scalar = node.scalar else {
            let error = InvalidValue("no single value", accepted: option.syntax.single)
            return SourceItem(place: place, value: .failure(error))
        }
        return SourceItem(
            place: described, value: Result { () throws(InvalidValue) in try option.syntax.parse(scalar.string) })
    }

    static func place(_ key: String, line: Int?, file: String) -> String { "\(file):\(line ?? 1): \(key)" }
}
