import Addresses
import Control
import Director
import LoadBalancing
import Logging
import ServiceConfiguration
import ServiceLifecycle

/// Serves metrics over TCP, where asked for. That it cannot, for now, is no reason not to forward.
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
            // It ends by itself at a graceful shutdown.
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
