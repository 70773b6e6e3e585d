import ArgumentParser

@main
struct IPVSDBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ipvsd-bench", abstract: "Measures ipvsd's packet program and tables.",
        subcommands: [PacketsCommand.self, MaglevCommand.self])
}
