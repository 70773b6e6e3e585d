public import Director
internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import ServiceLifecycle

/// The server of `GET` and `HEAD /metrics` over TCP, for any host that reaches the address. The server has an event
/// loop of its own and limits for connections and answers. So strangers cannot delay health checks or answers on the
/// control socket.
public struct MetricsServer: Sendable {
    /// The error of an address that cannot be listened on, with a remedy.
    struct Unbound: Error, CustomStringConvertible {
        var address: String
        var port: Int
        var code: Int32

        var description: String {
            switch code {
            case EADDRINUSE:
                "port \(port) is in use there ('ss -ltnp sport = :\(port)' says by whom; accepted: one that is free)"
            case EADDRNOTAVAIL:
                "\(address) is no address of this machine (accepted: an address of 'ip addr', or 0.0.0.0 for all of them)"
            case EACCES:
                "port \(port) takes CAP_NET_BIND_SERVICE (accepted: 1024 to 65535, or any port with that capability)"
            default: String(cString: strerror(code))
            }
        }
    }

    struct Limits: Sendable {
        var connections = 64
        /// The largest number of answers in a second, over all connections.
        var answers = 20
        /// The time limit of each step: the wait for the first request, a request until its answer, and the sending of
        /// the answer.
        var exchange = Duration.seconds(10)
        /// The time limit from an answer to the connection's next request.
        var rest = Duration.seconds(60)
    }

    let address: String
    let port: Int
    let limits: Limits
    private let text: SharedText<ByteBuffer>

    /// Creates a server of the director's metrics, which are gathered at most once a second.
    public init(director: Director, address: String, port: Int) {
        self.init(address: address, port: port) { try await director.metrics()?.text(version: Director.version) }
    }

    init(
        address: String, port: Int, limits: Limits = Limits(), gather: @escaping @Sendable () async throws -> String?
    ) {
        self.address = address
        self.port = port
        self.limits = limits
        text = SharedText(lifetime: .seconds(1)) { try await gather().map(ByteBuffer.init(string:)) }
    }

    /// Serves until a graceful shutdown, which does not wait for clients.
    public func run() async throws { try await run { _ in } }

    /// Serves, and calls `started` with the port once the server listens.
    func run(started: @Sendable (Int) -> Void) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
            try await serve(on: group.next(), started: started)
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
    }

    private func serve(on eventLoop: any EventLoop, started: @Sendable (Int) -> Void) async throws {
        let (limits, text) = (limits, text)
        let desk = NIOLoopBoundBox.makeBoxSendingValue(MetricsDesk(limits: limits, text: text), eventLoop: eventLoop)
        let bootstrap = ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: 64)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline(withErrorHandling: true)
                    try channel.pipeline.syncOperations.addHandler(MetricsHandler(desk: desk.value))
                }
            }
        let server: any Channel
        do { server = try await bootstrap.bind(host: address, port: port).get() } catch let error as IOError {
            throw Unbound(address: address, port: port, code: error.errnoCode)
        }
        started(server.localAddress?.port ?? port)
        try await withGracefulShutdownHandler {
            try await withTaskCancellationHandler {
                try await server.closeFuture.get()
            } onCancel: {
                server.close(promise: nil)
            }
        } onGracefulShutdown: {
            server.close(promise: nil)
        }
    }
}

/// The limits and the text that all connections share, on their event loop.
final class MetricsDesk {
    let limits: MetricsServer.Limits
    let text: SharedText<ByteBuffer>
    private var connections = 0
    private var second = NIODeadline.distantPast
    private var begun = 0

    init(limits: MetricsServer.Limits, text: SharedText<ByteBuffer>) {
        self.limits = limits
        self.text = text
    }

    /// Counts a new connection. Returns false where the limit is reached.
    func admit() -> Bool {
        guard connections < limits.connections else { return false }
        connections += 1
        return true
    }

    func leave() { connections -= 1 }

    /// Counts an answer. Returns whether it may be sent in this second.
    func mayAnswer(at now: NIODeadline = .now()) -> Bool {
        if now >= second + .seconds(1) { (second, begun) = (now, 0) }
        begun += 1
        return begun <= limits.answers
    }
}

/// A text that all readers within `lifetime` share. Only one call of `gather` runs at a time, and its errors are not
/// kept.
actor SharedText<Text: Sendable> {
    private let lifetime: Duration
    private let gather: @Sendable () async throws -> Text?
    private var gathering: Task<Text?, any Error>?
    private var kept: (text: Text?, since: ContinuousClock.Instant)?

    init(lifetime: Duration, gather: @escaping @Sendable () async throws -> Text?) {
        self.lifetime = lifetime
        self.gather = gather
    }

    func text() async throws -> Text? {
        if let gathering { return try await gathering.value }
        if let kept, kept.since.duration(to: .now) < lifetime { return kept.text }
        // An unstructured task goes on when the first reader is cancelled.
        let task = Task { [gather] in try await gather() }
        gathering = task
        defer { gathering = nil }
        let text = try await task.value
        kept = (text, .now)
        return text
    }
}
