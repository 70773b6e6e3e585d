import ArgumentParser
import Control

/// `ipvsd reload`: a request to the daemon to read its configuration file again.
struct Reload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Read the configuration file again, as on SIGHUP.",
        discussion: """
            The change is made as a whole, without losing connections of what stays, or not at all: then the errors \
            are printed, the exit code is that of a start with them (64 for the file's own), and the director goes on \
            as before. Exit code 3: no daemon runs, or it does not answer.
            """)

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            let summary = try await RunningDirector(common, timeoutSeconds: 30).ask { director in
                do { return try await director.reload() } catch let refusal as ReloadRefusal {
                    throw Failure(Failure.Code(rawValue: refusal.code) ?? .kernel, refusal.message)
                }
            }
            print("reloaded: \(summary)")
        }
    }
}
