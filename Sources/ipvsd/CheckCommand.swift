import ArgumentParser
import LoadBalancing
import ServiceConfiguration

/// `ipvsd check FILE`: whether a configuration file is good.
struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what is wrong with a configuration file: all of it, with lines and what is accepted.",
        discussion: "Nothing is changed, and no privilege is needed. Exit codes: 0 it is good, 64 it is not.")

    @Argument(help: "The file, as for --config.", completion: .file())
    var file: String

    func run() async throws {
        try await reporting {
            let configuration: DirectorConfiguration
            do { configuration = try ConfigurationFile.read(file) } catch { throw Failure(.badValue, "\(error)") }
            for note in configuration.notes { print("note: \(note)") }
            let servers = configuration.services.reduce(0) { $0 + $1.servers.count }
            print("\(file) is good: services: \(configuration.services.count), real servers: \(servers)")
        }
    }
}
