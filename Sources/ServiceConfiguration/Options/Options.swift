/// All options of the director. The command line, the configuration file, manual pages and schema are made of these
/// declarations. Import prints the values that have a `Setting` by them, and has lines of its own for the other values.
public enum Options {
    /// In the order of the file's keys. Options that only the command line has stand beside related ones.
    public static let all: [any DeclaredOption] = director + services + checks

    /// The options with a flag, by topic.
    static let flags: [any DeclaredOption] = OptionTopic.allCases.flatMap { topic in
        (services + director).filter { $0.flag?.topic == topic }
    }

    private static let bySection = Dictionary(
        uniqueKeysWithValues: FileSection.allCases.map { section in
            (section, all.filter { $0.key?.sections.contains(section) == true })
        })

    /// The options that a mapping of the file can have.
    static func options(of section: FileSection) -> [any DeclaredOption] { bySection[section] ?? [] }

    /// The same for a check of a type.
    static func options(of type: CheckType) -> [any DeclaredOption] {
        options(of: .check).filter { option in option.key?.types.isEmpty == true || has(option, type) }
    }

    /// The keys of a mapping; those that only some types of checks have are left out.
    static func keys(of section: FileSection) -> [String] {
        options(of: section).filter { $0.key?.types.isEmpty == true }.map(\.keyName)
    }

    static func has(_ option: any DeclaredOption, _ type: CheckType) -> Bool {
        option.key?.types.contains(type) == true
    }

    /// The mapping in `section` that has the option's key; nil where the section has the key itself.
    static func mapping(around option: any DeclaredOption, in section: FileSection) -> FileKey? {
        guard let key = option.key, !key.sections.contains(section) else { return nil }
        return options(of: section).lazy.compactMap(\.key).first { $0.holds.map(key.sections.contains) == true }
    }
}
