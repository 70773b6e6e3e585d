public import Director
internal import FoundationEssentials
internal import Glibc
internal import HTTPTypes
public import Hummingbird
public import Logging
internal import NIOCore

/// The daemon's HTTP API on a Unix socket that only root may open. The daemon drops a POST whose client has closed the
/// connection before the daemon begins with the request.
///
///     GET  /status          DirectorStatus as JSON; 503 until the director forwards
///     POST /reload          reads the configuration file again; 409 with a ReloadRefusal: nothing changed
///     POST /stop?keep=true  ends the daemon; keep: the data plane goes on forwarding
///     POST /drain           a DrainRequest: the real server gets no new connections; a DrainReport, or a refusal
///     POST /undrain         a DrainRequest: the real server gets new connections again
///     GET  /drain?server=A.B.C.D[&service=S]  a DrainReport
///     GET  /events?follow=true&last=N[&after=SEQUENCE][&service=S][&server=A.B.C.D]  one line of JSON for each event
///     GET  /metrics         Prometheus's text format
public enum ControlServer {
    public static func application(
        director: Director, socket: String, logger: Logger,
        reload: @escaping @Sendable (_ isAwaited: @Sendable () -> Bool) async -> Result<String, ReloadRefusal>,
        stop: @escaping @Sendable (_ keep: Bool) async -> Void
    ) -> some ApplicationProtocol {
        let router = router(director: director, reload: reload, stop: stop)
        // This process holds the instance's lock, so a socket at this path is that of a dead daemon.
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
        // HEAD is answered like GET, without the body.
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

/// The daemon's refusal of its configuration file's new contents.
public struct ReloadRefusal: Error, Codable, Sendable {
    /// The exit code of the command that requested the reload, as in sysexits.h.
    public var code: Int32
    /// The errors, one a line.
    public var message: String

    public init(code: Int32, message: String) {
        self.code = code
        self.message = message
    }
}

/// Drains over HTTP. A refusal is a `DirectorError` as JSON. Its status is 400 for a bad value, and 503 while the
/// director starts or stops. It is 409 where a service would lose its quorum, or where the drain has ended.
extension ControlServer {
    static func addMaintenance(to router: Router<ControlContext>, director: Director) {
        router.post("/drain") { request, context in
            let wanted = try await body(of: request)
            return await answer { try await director.drain(wanted, while: context.isStillAwaited) }
        }
        router.post("/undrain") { request, context in
            let wanted = try await body(of: request)
            return await answer { try await director.undrain(wanted, while: context.isStillAwaited) }
        }
        router.get("/drain") { request, _ in
            let query = request.uri.queryParameters
            let wanted = DrainRequest(
                server: query["server"].map(String.init) ?? "", service: query["service"].map(String.init))
            return await answer { try await director.drainReport(wanted) }
        }
    }

    private static func body(of request: Request) async throws -> DrainRequest {
        let body = try await request.body.collect(upTo: 65_536)
        do { return try JSONDecoder().decode(DrainRequest.self, from: Data(body.readableBytesView)) } catch {
            throw HTTPError(.badRequest, message: "no DrainRequest: \(error)")
        }
    }

    /// Returns the result of `body` as JSON, or the error that `body` throws as a refusal.
    static func answer(_ body: () async throws -> some Encodable) async -> Response {
        do {
            return json(Array(try JSONEncoder().encode(try await body())))
        } catch {
            return refusal(DirectorError(error))
        }
    }

    static func refusal(_ error: DirectorError) -> Response {
        let status: HTTPResponse.Status =
            switch error.kind {
            case .badValue: .badRequest
            case .tooFew, .notDrained: .conflict
            case .alreadyRunning: .serviceUnavailable
            default: .internalServerError
            }
        return json((try? JSONEncoder().encode(error)).map { Array($0) } ?? [], status: status)
    }
}

/// Metrics on the control socket. `MetricsServer` serves them over TCP.
extension ControlServer {
    static func addMetrics(to router: Router<ControlContext>, director: Director) {
        router.get("/metrics") { _, _ -> Response in
            guard let text = try await director.metrics()?.text(version: Director.version) else {
                throw HTTPError(.serviceUnavailable)
            }
            return Response(
                status: .ok, headers: [.contentType: MetricsText.contentType],
                body: .init(byteBuffer: ByteBuffer(string: text)))
        }
    }
}
