public import Director
internal import HTTPTypes
public import Hummingbird
internal import HummingbirdCore
public import Logging
internal import NIOCore

/// Metrics over HTTP, on the control socket and, where asked for, over TCP.
extension ControlServer {
    static func addMetrics(to router: Router<ControlContext>, director: Director) {
        addMetrics(to: router) { try await text(of: director) }
    }

    private static func addMetrics(
        to router: Router<ControlContext>, text: @escaping @Sendable () async throws -> String?
    ) {
        router.get("/metrics") { _, _ -> Response in
            guard let text = try await text() else { throw HTTPError(.serviceUnavailable) }
            return Response(
                status: .ok, headers: [.contentType: MetricsText.contentType],
                body: .init(byteBuffer: ByteBuffer(string: text)))
        }
    }

    private static func text(of director: Director) async throws -> String? {
        try await director.metrics()?.text(version: Director.version)
    }

    /// Nothing but GET /metrics, for whoever reaches the address; the director is asked once a second at most.
    public static func metricsApplication(
        director: Director, address: String, port: Int, logger: Logger
    ) -> some ApplicationProtocol {
        let router = Router(context: ControlContext.self)
        let shared = SharedText(lifetime: .seconds(1)) { try await text(of: director) }
        addMetrics(to: router) { try await shared.text() }
        var quiet = logger
        quiet.logLevel = .critical
        return Application(
            router: router,
            server: .http1(
                configuration: .init(
                    additionalChannelHandlers: [ConnectionDeadline()], idleTimeout: .seconds(30))),
            configuration: .init(
                address: .hostname(address, port: port), serverName: "ipvsd", backlog: 64,
                availableConnectionsDelegate: MaximumAvailableConnections(64)),
            logger: quiet)
    }
}
