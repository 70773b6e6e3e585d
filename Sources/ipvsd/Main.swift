import ArgumentParser
import Glibc

/// Chooses between the director and the other commands. Their flags share names, and a parser of both would give a
/// subcommand's `--vip` to the director.
@main
enum Main {
    static func main() async {
        let arguments = CommandLine.arguments.dropFirst()
        let first = arguments.first ?? ""
        if arguments == ["help"] {
            await DirectorCommand.main(["--help"])
        } else if first == "help" || Subcommands.all.contains(where: { $0._commandName == first }) {
            await Subcommands.main()
        } else if !first.hasPrefix("-"), let meant = Suggestion.nearest(to: first, among: Subcommands.names) {
            Failure.write("'\(first)' is no subcommand (did you mean '\(meant)'?)")
            Glibc.exit(Failure.Code.badValue.rawValue)
        } else {
            await DirectorCommand.main()
        }
    }
}

/// Everything but the director.
struct Subcommands: AsyncParsableCommand {
    static let all: [any ParsableCommand.Type] = [
        Status.self, Connections.self, Explain.self, CaptureCommand.self, Drain.self, Undrain.self, Events.self,
        Metrics.self, Check.self, ImportCommand.self, Reload.self, Stop.self, Cleanup.self,
        RealServerSetupCommand.self, DoctorCommand.self, TunnelCommand.self, DocumentationCommand.self,
    ]
    static var names: [String] { all.map { $0._commandName } + ["help"] }
    static let configuration = CommandConfiguration(commandName: "ipvsd", subcommands: all)
}
