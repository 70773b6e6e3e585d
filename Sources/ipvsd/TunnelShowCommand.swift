import ArgumentParser
import TunnelSetup

/// `ipvsd tunnel show`.
struct TunnelShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "List the IPIP tunnels of this network namespace, whoever added them, as 'ip -d address' does.",
        discussion: "Exit code 69: there is no tunnel of that name.")

    @Argument(help: "Only the tunnel of that name.")
    var name: String?

    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        try await reporting {
            try TunnelCommand.naming {
                let tunnels = try TunnelSetup.list(name)
                if json { print(try tunnels.json()) } else { for tunnel in tunnels { print(tunnel.text) } }
            }
        }
    }
}
