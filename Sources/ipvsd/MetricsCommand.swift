import ArgumentParser
import Control
import ServiceConfiguration

/// `ipvsd metrics`: the metrics in Prometheus's text format.
struct Metrics: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the metrics in Prometheus's text format.",
        discussion: """
            The same is served on the control socket (curl --unix-socket /run/ipvsd/control.sock http://ipvsd/metrics), \
            and over TCP where the director was started with \(Options.metricsListen.flagName), or has \(Options.metricsListen.keyName) in its \
            file.

            Exit code 3: no daemon runs.
            """)

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            let text = try await RunningDirector(common).ask { try await $0.metrics() }
            print(String(decoding: text, as: UTF8.self), terminator: "")
        }
    }
}
