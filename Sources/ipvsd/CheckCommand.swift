import ArgumentParser
import LoadBalancing
import ServiceConfiguration

/// `ipvsd check FILE`: the errors of a configuration file.
struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Find the errors of a configuration file.",
        discussion: """
            Names all errors, with their lines and the accepted values. Nothing is changed, and no privilege is needed.

            Exit codes: 0 the file is good, 64 it is not.
            """)

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
