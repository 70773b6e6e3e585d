import ArgumentParser
import Testing

@testable import ipvsd

/// The help of each command, by the program itself.
struct HelpTests {
    /// The words of each command, without `ipvsd`.
    private static let commands =
        [[]] + RootCommand.names.filter { $0 != "help" }.map { [$0] }
        + ["add", "show", "delete"].map { ["tunnel", $0] }

    @Test("the help of a command is as recorded", arguments: commands)
    func help(command: [String]) throws {
        let outcome = try Executable.run(command + ["--help"])
        #expect(outcome.code == 0)
        #expect(outcome.errors == [])
        let name = (["ipvsd"] + command).joined(separator: "-")
        try Snapshot.expect(outcome.output, in: "help/\(name).txt")
    }

    @Test("the first help fits on two screens, and names every command that is shown")
    func overview() throws {
        let lines = try Executable.run(["--help"]).output
        #expect(lines.count <= 50)
        #expect(lines.allSatisfy { $0.count <= 80 })
        for command in RootCommand.subcommands where command.configuration.shouldDisplay {
            #expect(lines.contains { $0.hasPrefix("  \(command._commandName) ") }, "\(command._commandName)")
        }
    }

    @Test("the same help comes by other ways", arguments: [["-h"], ["help"]])
    func otherWays(arguments: [String]) throws {
        #expect(try Executable.run(arguments).output == (try Executable.run(["--help"]).output))
    }

    @Test("the director's help comes beside its options, with and without its name")
    func director() throws {
        let help = try Executable.run(["director", "--help"]).output
        #expect(try Executable.run(["help", "director"]).output == help)
        #expect(try Executable.run(["--vip", "10.0.0.100", "--help"]).output == help)
    }

    @Test("options are the director's also where a value is the name of a command")
    func completed() {
        #expect(RootCommand.completed(["--instance", "status"]) == ["director", "--instance", "status"])
        #expect(RootCommand.completed([]) == ["director"])
        #expect(RootCommand.completed(["--instance", "x", "-v", "status"]) == ["status", "--instance", "x", "-v"])
        #expect(
            RootCommand.completed(["--instance=x", "tunnel", "delete", "--", "-a"])
                == ["tunnel", "delete", "--instance=x", "--", "-a"])
        #expect(
            RootCommand.completed(["--instance", "x", "--vip", "10.0.0.100"])
                == ["director", "--instance", "x", "--vip", "10.0.0.100"])
        #expect(RootCommand.completed(["status", "--json"]) == ["status", "--json"])
        #expect(RootCommand.completed(["director", "--replace"]) == ["director", "--replace"])
    }

    @Test("shells complete the director's options beside the subcommands", arguments: ["bash", "zsh", "fish"])
    func completions(shell: String) throws {
        let outcome = try Executable.run(["--generate-completion-script", shell])
        #expect(outcome.code == 0)
        let text = outcome.output.joined(separator: "\n")
        for word in ["log-format", "backends", "undrain", "realserver-setup"] { #expect(text.contains(word)) }
    }
}
