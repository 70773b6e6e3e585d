public import Director
internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import ServiceLifecycle

/// `GET` and `HEAD /metrics` over TCP, for whoever reaches the address. Strangers get an event loop, connections and
/// answers of their own, so many and no more: what they do delays no health check and no answer on the control socket.
public struct MetricsServer: Sendable {
    /// Why nothing can listen there, and what to do about it.
    struct Unbound: Error, CustomStringConvertible {
        var address: String
        var port: Int
        var code: Int32

        var description: String {
            switch code {
            case EADDRINUSE:
                "port \(port) is in use there ('ss -ltnp sport = :\(port)' says by whom; accepted: one that is free)"
            case EADDRNOTAVAIL:
                "\(address) is no address of this machine (accepted: one of those that 'ip addr' lists, or 0.0.0.0 for all of them)"
            case EACCES:
                "port \(port) takes CAP_NET_BIND_SERVICE (accepted: 1024 to 65535, or any port with that capability)"
            default: String(cString: strerror(code))
            }
        }
    }

    struct Limits: Sendable {
        var connections = 64
        /// Answers with metrics that are begun within a second, by all connections.
        var answers = 20
        /// For a request to come in whole, and for its answer to be taken.
        var exchange = Duration.seconds(10)
        /// Between two requests of a connection.
        var rest = Duration.seconds(60)
    }

    let address: String
    let port: Int
    let limits: Limits
    private let text: SharedText<ByteBuffer>

    /// The director is asked once a second at most.
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

    /// Serves until a graceful shutdown, which waits for nobody.
    public func run() async throws { try await run { _ in } }

    /// `started` is told the port.
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

/// What all connections share. Lives on their event loop.
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

    /// False where there are enough.
    func admit() -> Bool {
        guard connections < limits.connections else { return false }
        connections += 1
        return true
    }

    func leave() { connections -= 1 }

    /// Whether one more answer may begin now.
    func mayAnswer(at now: NIODeadline = .now()) -> Bool {
        if now >= second + .seconds(1) { (second, begun) = (now, 0) }
        begun += 1
        return begun <= limits.answers
    }
}
