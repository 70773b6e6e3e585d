import ArgumentParser
import Testing

@testable import ServiceConfiguration
@testable import ipvsd

/// The director's command line and the declarations of its flags.
struct DeclaredFlagTests {
    /// The group, names and value of a flag, as in `Scheduling: --scheduler <name>`.
    private static func line(_ option: any DeclaredOption) -> String? {
        guard let flag = option.flag else { return nil }
        let names = [option.shortFlagName, option.flagName].filter { !$0.isEmpty }.joined(separator: ", ")
        let value = flag.valueName.map { " <\($0)>" } ?? ""
        return "\(flag.topic.rawValue): \(names)\(value)\(flag.repeats ? " ..." : "")"
    }

    @Test("the command line has the declared flags and no other, each in the group of its topic")
    func commandLineHasDeclaredFlags() throws {
        let parsed = try DirectorOption.arguments().map { "\($0.sectionTitle ?? "no group"): \($0.text)" }
        #expect(parsed.sorted() == Options.flags.compactMap(Self.line).sorted())
    }

    @Test("every declared flag is in a list of `Options`, so that it is known beside --config")
    func everyFlagIsListed() {
        #expect(
            Options.all.filter { $0.flag != nil }.map(\.flagName).sorted() == Options.flags.map(\.flagName).sorted())
    }

    @Test("flags that are typed are known by their declarations")
    func typedFlagsAreKnown() throws {
        let words = Options.flags.flatMap { [$0.flagName] + ($0.flag?.valueName == nil ? [] : ["1"]) }
        #expect(try DirectorOptions.parse(words).flags.names == Options.flags.map(\.flagName))
    }
}
