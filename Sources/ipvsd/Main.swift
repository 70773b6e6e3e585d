import ArgumentParser
import Director
import Glibc

@main
enum Main {
    static func main() async {
        let arguments = Array(CommandLine.arguments.dropFirst())
        let first = arguments.first ?? ""
        if !first.isEmpty, !first.hasPrefix("-"), !RootCommand.names.contains(first),
            let meant = Suggestion.nearest(to: first, among: RootCommand.names)
        {
            Failure.write("'\(first)' is no subcommand (did you mean '\(meant)'?)")
            Glibc.exit(Failure.Code.badValue.rawValue)
        }
        if first.hasPrefix("--generate-completion-script") {
            await CompletedCommand.main(arguments)
        } else {
            await RootCommand.main(RootCommand.completed(arguments))
        }
    }
}

/// `ipvsd`, with its subcommands by purpose.
struct RootCommand: AsyncParsableCommand {
    private static let groups = [
        CommandGroup(
            name: "Director", subcommands: [DirectorCommand.self, Reload.self, Stop.self, Cleanup.self]),
        CommandGroup(name: "Configuration", subcommands: [Check.self, ImportCommand.self]),
        CommandGroup(
            name: "Observation", subcommands: [Status.self, Connections.self, Events.self, Metrics.self]),
        CommandGroup(
            name: "Diagnosis", subcommands: [DoctorCommand.self, Explain.self, CaptureCommand.self]),
        CommandGroup(name: "Maintenance", subcommands: [Drain.self, Undrain.self]),
        CommandGroup(
            name: "Host", subcommands: [RealServerSetupCommand.self, TunnelCommand.self, DocumentationCommand.self]),
    ]

    static let configuration = CommandConfiguration(
        commandName: "ipvsd",
        abstract: "An LVS-style IP-tunnel load balancer.",
        usage: """
            ipvsd --vip <address> ... --backends <server> ... [<option> ...]
            ipvsd --config <file> [--replace]
            ipvsd <subcommand> ...
            """,
        discussion: """
            Without a subcommand 'ipvsd' is the director, whose options 'ipvsd director --help' lists. It sends clients' \
            packets for the VIPs to real servers, inside IPIP. The real servers answer the clients directly.
            """,
        version: Director.version,
        groupedSubcommands: groups)

    static let subcommands = groups.flatMap(\.subcommands)
    static let names = subcommands.map { $0._commandName } + ["help"]

    /// The flags of `ipvsd` itself. A command line that begins with such a flag is not the director's.
    private static let ownFlags = ["--help", "-h", "--help-hidden", "--version", "--experimental-dump-help"]

    /// Returns the command line with the subcommand `director`, where it has no subcommand. The parser by itself would
    /// take a value of an option for a subcommand, as in `--instance status`. Common options before a subcommand are
    /// moved behind the subcommand.
    static func completed(_ arguments: [String]) -> [String] {
        if arguments == ["help"] { return ["--help"] }
        let leading = leadingCommonOptions(of: arguments)
        if !leading.isEmpty, let command = arguments.dropFirst(leading.count).first, names.contains(command) {
            let rest = arguments.dropFirst(leading.count)
            let end = rest.firstIndex(of: "--") ?? rest.endIndex
            return Array(rest[..<end] + leading + rest[end...])
        }
        guard let first = arguments.first else { return [DirectorCommand._commandName] }
        return names.contains(first) || ownFlags.contains(first)
            ? arguments : [DirectorCommand._commandName] + arguments
    }
}

extension RootCommand {
    /// Returns the common options (`CommonOptions`) with which a command line begins.
    private static func leadingCommonOptions(of arguments: [String]) -> ArraySlice<String> {
        var count = 0
        while count < arguments.count {
            let argument = arguments[count]
            if argument == "-v" || argument == "--verbose" || argument.hasPrefix("--instance=") {
                count += 1
            } else if argument == "--instance", count + 1 < arguments.count {
                count += 2
            } else {
                break
            }
        }
        return arguments[..<count]
    }
}

/// The command line as shells complete it: the director's options stand beside the subcommands.
struct CompletedCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: RootCommand._commandName, version: Director.version, subcommands: RootCommand.subcommands)

    @OptionGroup var director: DirectorCommand
}

/// The correction of a mistyped word.
enum Suggestion {
    /// Returns the word of the list with the least distance from the typed word. Returns nil where that distance is
    /// more than 1, and more than a third of the typed word's length.
    static func nearest(to typed: String, among words: [String]) -> String? {
        let near = words.map { ($0, distance(typed, $0)) }.min { $0.1 < $1.1 }
        guard let near, near.1 <= max(1, typed.count / 3) else { return nil }
        return near.0
    }

    /// Returns the optimal string alignment distance: the number of letters that are added, left out, replaced, or
    /// swapped with the next letter.
    static func distance(_ one: String, _ other: String) -> Int {
        let (one, other) = (Array(one), Array(other))
        var rows = [Array(0...other.count)]
        for row in 0..<one.count {
            var next = [row + 1]
            for column in 0..<other.count {
                let replaced = rows[row][column] + (one[row] == other[column] ? 0 : 1)
                var least = min(replaced, rows[row][column + 1] + 1, next[column] + 1)
                if row > 0, column > 0, one[row] == other[column - 1], one[row - 1] == other[column] {
                    least = min(least, rows[row - 1][column - 1] + 1)
                }
                next.append(least)
            }
            rows.append(next)
        }
        return rows[one.count][other.count]
    }
}
