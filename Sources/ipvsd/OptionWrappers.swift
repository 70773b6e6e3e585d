import ArgumentParser
import ServiceConfiguration

/// ArgumentParser's property wrappers, made of the declarations of `Options`.
extension Option {
    /// A value. A bad one is kept, so that all bad values are reported together.
    init<Parsed>(_ option: DirectorOption<Parsed>) where Value == Given<Parsed>? {
        self.init(
            wrappedValue: nil, name: .declared(option), help: .declared(option), transform: { Given(option, $0) })
    }

    /// The values of a flag that repeats.
    init<Parsed>(each option: DirectorOption<Parsed>) where Value == [Given<Parsed>] {
        self.init(
            wrappedValue: [], name: .declared(option), help: .declared(option), transform: { Given(option, $0) })
    }
}

extension Flag where Value == Bool {
    /// A flag without a value. The property is named as the flag is.
    init(_ option: DirectorOption<Bool>) {
        self.init(wrappedValue: false, name: .declared(option), help: .declared(option))
    }
}

extension NameSpecification {
    fileprivate static func declared(_ option: any DeclaredOption) -> NameSpecification {
        guard let flag = option.flag else { preconditionFailure("an option without a flag") }
        let short = flag.short.map { [NameSpecification.Element.customShort($0)] } ?? []
        return NameSpecification(short + [.customLong(flag.name)])
    }
}

extension ArgumentHelp {
    fileprivate static func declared(_ option: any DeclaredOption) -> ArgumentHelp {
        ArgumentHelp(option.flagHelp, valueName: option.flag?.valueName)
    }
}

// MARK: What was typed

extension ParsableArguments {
    /// The declared options that were typed, also those of groups within.
    func givenOptions() -> [any GivenOption] {
        Mirror(reflecting: self).children.flatMap { child -> [any GivenOption] in
            switch child.value {
            case let option as any GivenHolder: option.given
            case let flag as Flag<Bool>: flag.wrappedValue ? [GivenPresence(flag: flagName(child.label ?? ""))] : []
            case let group as any GroupHolder: group.arguments.givenOptions()
            default: []
            }
        }
    }

    /// The flag of a wrapped property's storage: `_onePacket` has `one-packet`.
    private func flagName(_ label: String) -> String {
        label.dropFirst().map { $0.isUppercase ? "-\($0.lowercased())" : "\($0)" }.joined()
    }
}

private protocol GivenHolder {
    var given: [any GivenOption] { get }
}

extension Option: GivenHolder {
    fileprivate var given: [any GivenOption] {
        switch wrappedValue {
        case let one as any GivenOption: [one]
        case let several as [any GivenOption]: several
        default: []
        }
    }
}

private protocol GroupHolder {
    var arguments: any ParsableArguments { get }
}

extension OptionGroup: GroupHolder {
    fileprivate var arguments: any ParsableArguments { wrappedValue }
}
