@testable import ServiceConfiguration

/// A command line, flag by flag.
struct TypedFlags {
    private var given: [String: [any GivenOption]] = [:]

    init(vips: [String] = [], backends: [String] = []) {
        self[each: Options.listeners] = vips
        self[each: Options.servers] = backends
    }

    /// The text of a flag's value, or nil without the flag.
    subscript<Value>(option: DirectorOption<Value>) -> String? {
        get { self[each: option].last }
        set { self[each: option] = newValue.map { [$0] } ?? [] }
    }

    /// The texts of a flag that repeats.
    subscript<Value>(each option: DirectorOption<Value>) -> [String] {
        get { (given[option.flagName] ?? []).compactMap { ($0 as? Given<Value>)?.text } }
        set { given[option.flagName] = newValue.map { Given(option, $0) } }
    }

    /// Whether a flag without a value was typed.
    subscript(typed option: DirectorOption<Bool>) -> Bool {
        get { given[option.flagName]?.isEmpty == false }
        set { given[option.flagName] = newValue ? [GivenPresence(option)] : [] }
    }

    var flags: DirectorFlags { DirectorFlags(given.values.flatMap(\.self)) }

    func configuration(files: NamedFiles = .unseen) throws(ConfigurationErrors) -> DirectorConfiguration {
        try flags.configuration(files: files)
    }
}
