public import Director
internal import Glibc
public import Hummingbird
public import Logging

/// The daemon's HTTP API on a Unix socket that only root may open.
///
///     GET  /status          DirectorStatus as JSON; 503 until the director forwards
///     POST /stop?keep=true  ends the daemon; keep: the data plane goes on forwarding
public enum ControlServer {
    public static func application(
        director: Director, socket: String, logger: Logger, stop: @escaping @Sendable (_ keep: Bool) async -> Void
    ) -> some ApplicationProtocol {
        let router = Router()
        router.get("/status") { _, _ -> Response in
            guard let status = try await director.status() else { throw HTTPError(.serviceUnavailable) }
            return json(try status.json())
        }
        router.post("/stop") { request, _ -> Response in
            await stop(request.uri.queryParameters["keep"] == "true")
            return json(Array("{}".utf8))
        }
        // The lock is ours: a socket that is there belongs to nobody.
        unlink(socket)
        var quiet = logger
        quiet.logLevel = .critical
        return Application(
            router: router, configuration: .init(address: .unixDomainSocket(path: socket), serverName: "ipvsd"),
            logger: quiet)
    }

    private static func json(_ bytes: some Sequence<UInt8>) -> Response {
        Response(
            status: .ok, headers: [.contentType: "application/json"],
            body: .init(byteBuffer: ByteBuffer(bytes: bytes)))
    }
}
