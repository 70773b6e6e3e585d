import Addresses
import ArgumentParser
import Control
import Director
import LoadBalancing
import Logging
import ServiceConfiguration
import ServiceLifecycle

/// Serves metrics over TCP. An address that cannot be listened on is logged and tried again. Meanwhile the director
/// forwards.
struct MetricsListener: Service {
    let director: Director
    let address: ListenAddress
    let logger: Logger

    private static let pause = Duration.seconds(5)

    func run() async throws {
        var problem = ""
        while !Task.isCancelled, !Task.isShuttingDownGracefully {
            let server = MetricsServer(
                director: director, address: address.address.description, port: Int(address.port))
            // A graceful shutdown ends `run` without an error.
            do { try await server.run() } catch {
                if "\(error)" != problem {
                    logger.error(
                        "serve metrics on \(address), tried again every \(Self.pause): \(error)",
                        metadata: ["address": "\(address)", "error": "\(error)"])
                }
                problem = "\(error)"
            }
            try? await cancelWhenGracefulShutdown { try await Task.sleep(for: Self.pause) }
        }
    }
}

/// `ipvsd metrics`: the metrics in Prometheus's text format.
struct Metrics: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the metrics in Prometheus's text format.",
        discussion: """
            The same is served on the control socket (curl --unix-socket /run/ipvsd/control.sock http://ipvsd/metrics), \
            and over TCP with \(Options.metricsListen.flagName) of the director, or \(Options.metricsListen.keyName) in its file.

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
