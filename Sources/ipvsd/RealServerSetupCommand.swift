import ArgumentParser

struct RealServerSetupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "realserver-setup", abstract: "Set up this real server.")
    func run() async throws {}
}
