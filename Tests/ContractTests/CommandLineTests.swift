import ArgumentParser
import FoundationEssentials
import Testing

@testable import ipvsd

/// Subcommands, arguments, flags, their short names, value names and default values.
struct CommandLineTests {
    @Test("the commands and flags are as recorded")
    func commandsAndFlags() throws {
        try Snapshot.expect(CommandDump.read().lines(), in: "command-line.txt")
    }

    @Test("a flag of the configuration beside --config is refused by its name", arguments: DirectorOption.all)
    func isRefusedBesideFile(option: DirectorOption) throws {
        let command = try #require(
            try RootCommand.parse(asTyped: ["--config", "/nonexistent"] + option.arguments) as? DirectorCommand)
        let failure = try #require(throws: Failure.self) { _ = try command.directorConfiguration() }
        #expect(failure.code == .badValue)
        let given = failure.description.prefix { $0 != ":" }.split(separator: ", ").map(String.init)
        #expect(given.contains(option.flag), "\(failure)")
        #expect(failure.description.contains(": cannot be beside --config"), "\(failure)")
    }

    @Test("flags of the daemon itself are accepted beside --config")
    func isAcceptedBesideFile() throws {
        let arguments = ["--config", "/nonexistent", "--replace", "--instance", "a", "-v"]
        let command = try #require(try RootCommand.parse(asTyped: arguments) as? DirectorCommand)
        let failure = try #require(throws: Failure.self) { _ = try command.directorConfiguration() }
        #expect(failure.description.hasPrefix("/nonexistent: "), "\(failure)")
    }
}

extension RootCommand {
    /// Parses the words of a command line as the program does.
    static func parse(asTyped arguments: [String]) throws -> any ParsableCommand {
        try parseAsRoot(completed(arguments))
    }
}

/// The command line as ArgumentParser describes it to tools.
struct CommandDump: Decodable {
    struct Command: Decodable {
        var commandName: String
        var arguments: [Argument]?
        var subcommands: [Command]?
    }

    struct Argument: Decodable {
        struct Name: Decodable {
            var kind: String
            var name: String

            var text: String { (kind == "long" ? "--" : "-") + name }
        }

        var kind: String
        var names: [Name]?
        var valueName: String?
        var defaultValue: String?
        var allValues: [String]?
        var isOptional: Bool
        var isRepeating: Bool
        var shouldDisplay: Bool
        /// The title of the group in `--help`.
        var sectionTitle: String?

        /// The long name with its dashes.
        var longName: String? { names?.first { $0.kind == "long" }?.text }

        /// The argument as in a synopsis: `-n, --last <n> (default: 1000)`.
        var text: String {
            let names = (names ?? []).sorted { ($0.kind == "long" ? 1 : 0) < ($1.kind == "long" ? 1 : 0) }
            var parts = [names.map(\.text).joined(separator: ", ")].filter { !$0.isEmpty }
            if kind != "flag" { parts.append("<\(valueName ?? "")>") }
            if isRepeating { parts.append("...") }
            if let allValues { parts.append("(\(allValues.joined(separator: ", ")))") }
            if let defaultValue { parts.append("(default: \(defaultValue))") }
            if !isOptional { parts.append("(required)") }
            if !shouldDisplay { parts.append("(hidden)") }
            return parts.joined(separator: " ")
        }
    }

    var command: Command

    static func read() throws -> CommandDump {
        let text: String
        do {
            _ = try RootCommand.parseAsRoot(["--experimental-dump-help"])
            text = ""
        } catch { text = RootCommand.fullMessage(for: error) }
        return try JSONDecoder().decode(Self.self, from: Data(text.utf8))
    }

    /// A line for each command and for each of its arguments, in the order of the help.
    func lines() -> [String] { Self.lines(of: command, below: "") }

    private static func lines(of command: Command, below parent: String) -> [String] {
        let name = parent + command.commandName
        return [name] + (command.arguments ?? []).map { "\(name) \($0.text)" }
            + (command.subcommands ?? []).flatMap { lines(of: $0, below: name + " ") }
    }
}
