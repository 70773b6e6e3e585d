/// All options of the director. These declarations make the command line, the configuration file, manual pages and the
/// schema. The import prints an option by its `Setting`, and options without a `Setting` in forms of its own.
public enum Options {
    /// The options in the order of the file's keys. Options without a key stand beside related options.
    public static let all: [any DeclaredOption] = director + services + checks

    /// The options that have a flag, grouped in the order of the topics.
    static let flags: [any DeclaredOption] = OptionTopic.allCases.flatMap { topic in
        (services + director).filter { $0.flag?.topic == topic }
    }

    private static let bySection = Dictionary(
        uniqueKeysWithValues: FileSection.allCases.map { section in
            (section, all.filter { $0.key?.sections.contains(section) == true })
        })

    /// Returns the options whose keys `section` can have.
    static func options(of section: FileSection) -> [any DeclaredOption] { bySection[section] ?? [] }

    /// Returns the options that a check of this type can have.
    static func options(of type: CheckType) -> [any DeclaredOption] {
        options(of: .check).filter { option in option.key?.types.isEmpty == true || has(option, type) }
    }

    /// Returns the keys that a section can have. Keys that only some types of checks have are left out.
    static func keys(of section: FileSection) -> [String] {
        options(of: section).filter { $0.key?.types.isEmpty == true }.map(\.keyName)
    }

    static func has(_ option: any DeclaredOption, _ type: CheckType) -> Bool {
        option.key?.types.contains(type) == true
    }

    /// Returns the key of the mapping in `section` that has the option's key. Returns nil if the section itself has the
    /// option's key, or if none of its mappings has it.
    static func mapping(around option: any DeclaredOption, in section: FileSection) -> FileKey? {
        guard let key = option.key, !key.sections.contains(section) else { return nil }
        return options(of: section).lazy.compactMap(\.key).first { $0.holds.map(key.sections.contains) == true }
    }
}
