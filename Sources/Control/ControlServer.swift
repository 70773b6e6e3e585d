public import Director
internal import FoundationEssentials
internal import Glibc
internal import HTTPTypes
public import Hummingbird
public import Logging

/// The daemon's HTTP API on a Unix socket that only root may open. A POST is dropped if its client has closed its
/// socket before the daemon begins with it.
///
///     GET  /status          DirectorStatus as JSON; 503 until the director forwards
///     POST /reload          reads the configuration file again; 409 with a ReloadRefusal: nothing changed
///     POST /stop?keep=true  ends the daemon; keep: the data plane goes on forwarding
///     POST /drain           a DrainRequest: the real server gets no new connections; a DrainReport, or a refusal
///     POST /undrain         a DrainRequest: it gets them again
///     GET  /drain?server=A.B.C.D[&service=S]  a DrainReport
///     GET  /events?follow=true&last=N[&after=SEQUENCE][&service=S][&server=A.B.C.D]  a line of JSON an event
///     GET  /metrics         Prometheus's text format
public enum ControlServer {
    public static func application(
        director: Director, socket: String, logger: Logger,
        reload: @escaping @Sendable (_ isAwaited: @Sendable () -> Bool) async -> Result<String, ReloadRefusal>,
        stop: @escaping @Sendable (_ keep: Bool) async -> Void
    ) -> some ApplicationProtocol {
        let router = router(director: director, reload: reload, stop: stop)
        // This process holds the instance's lock, so a socket in this place is a dead daemon's.
        unlink(socket)
        var quiet = logger
        quiet.logLevel = .critical
        return Application(
            router: router, server: .http1(configuration: .init(additionalChannelHandlers: [ConnectionDeadline()])),
            configuration: .init(address: .unixDomainSocket(path: socket), serverName: "ipvsd"),
            logger: quiet)
    }

    /// Makes the routes of the API, without a socket.
    static func router(
        director: Director,
        reload: @escaping @Sendable (_ isAwaited: @Sendable () -> Bool) async -> Result<String, ReloadRefusal>,
        stop: @escaping @Sendable (_ keep: Bool) async -> Void
    ) -> Router<ControlContext> {
        // HEAD as GET, without the body.
        let router = Router(context: ControlContext.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: OnlyWhileAwaited())
        router.get("/status") { _, _ -> Response in
            guard let status = try await director.status() else { throw HTTPError(.serviceUnavailable) }
            return json(try status.json())
        }
        router.post("/reload") { _, context -> Response in
            switch await reload(context.isStillAwaited) {
            case .success(let summary): return json(Array(try JSONEncoder().encode(["message": summary])))
            case .failure(let refusal): return json(Array(try JSONEncoder().encode(refusal)), status: .conflict)
            }
        }
        router.post("/stop") { request, _ -> Response in
            await stop(request.uri.queryParameters["keep"] == "true")
            return json(Array("{}".utf8))
        }
        addMaintenance(to: router, director: director)
        addEvents(to: router, director: director)
        addMetrics(to: router, director: director)
        return router
    }

    static func json(_ bytes: some Sequence<UInt8>, status: HTTPResponse.Status = .ok) -> Response {
        Response(
            status: status, headers: [.contentType: "application/json"],
            body: .init(byteBuffer: ByteBuffer(bytes: bytes)))
    }
}
