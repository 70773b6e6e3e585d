import ArgumentParser
import TunnelSetup

/// `ipvsd tunnel show`.
struct TunnelShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "List all IPIP tunnels of this network namespace.",
        discussion: """
            The list also has tunnels that 'ipvsd tunnel add' did not add, in the form of 'ip -d address'.

            Exit code 69: there is no tunnel of that name.
            """)

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
