/// All options of the director. These declarations make the command line, the configuration file, manual pages and the
/// schema. The import prints values by their `Setting`, and has forms of its own for the others.
public enum Options {
    /// The options in the order of the file's keys. Options without a key stand beside related ones.
    public static let all: [any DeclaredOption] = director + services + checks

    /// The options with a flag, by topic.
    static let flags: [any DeclaredOption] = OptionTopic.allCases.flatMap { topic in
        (services + director).filter { $0.flag?.topic == topic }
    }

    private static let bySection = Dictionary(
        uniqueKeysWithValues: FileSection.allCases.map { section in
            (section, all.filter { $0.key?.sections.contains(section) == true })
        })

    /// Returns the options that a mapping of the file can have.
    static func options(of section: FileSection) -> [any DeclaredOption] { bySection[section] ?? [] }

    /// Returns the options that a check of this type can have.
    static func options(of type: CheckType) -> [any DeclaredOption] {
        options(of: .check).filter { option in option.key?.types.isEmpty == true || has(option, type) }
    }

    /// Returns the keys of a mapping. Keys of only some types of checks are left out.
    static func keys(of section: FileSection) -> [String] {
        options(of: section).filter { $0.key?.types.isEmpty == true }.map(\.keyName)
    }

    static func has(_ option: any DeclaredOption, _ type: CheckType) -> Bool {
        option.key?.types.contains(type) == true
    }

    /// Returns the inner mapping of `section` that has the option's key. It is nil if the section itself has the key.
    static func mapping(around option: any DeclaredOption, in section: FileSection) -> FileKey? {
        guard let key = option.key, !key.sections.contains(section) else { return nil }
        return options(of: section).lazy.compactMap(\.key).first { $0.holds.map(key.sections.contains) == true }
    }
}
