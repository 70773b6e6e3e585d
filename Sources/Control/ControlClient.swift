public import Director
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// Talks to the daemon over its Unix socket.
public struct ControlClient: Sendable {
    /// The daemon is there and said no.
    public struct Refusal: Error, CustomStringConvertible {
        public let status: UInt
        let body: [UInt8]
        public var description: String { status == 503 ? "the director is still starting" : "HTTP status \(status)" }
    }

    private let socket: String
    private let timeout: TimeAmount

    public init(socket: String, timeoutSeconds: Int64 = 5) {
        self.socket = socket
        self.timeout = .seconds(timeoutSeconds)
    }

    public func status() async throws -> DirectorStatus {
        try JSONDecoder().decode(DirectorStatus.self, from: Data(try await request(.GET, "/status")))
    }

    /// What changed.
    public func reload() async throws -> String {
        let answer: [UInt8]
        do { answer = try await request(.POST, "/reload") } catch let refusal as Refusal where refusal.status == 409 {
            throw try JSONDecoder().decode(ReloadRefusal.self, from: Data(refusal.body))
        }
        return try JSONDecoder().decode([String: String].self, from: Data(answer))["message"] ?? ""
    }

    public func stop(keep: Bool) async throws {
        _ = try await request(.POST, "/stop?keep=\(keep)")
    }

    private func request(_ method: HTTPMethod, _ uri: String) async throws -> [UInt8] {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        let answer = eventLoop.makePromise(of: [UInt8].self)
        let channel: any Channel
        do {
            channel = try await ClientBootstrap(group: eventLoop).connectTimeout(timeout)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHTTPClientHandlers()
                        try channel.pipeline.syncOperations.addHandler(AnswerHandler(answer))
                    }
                }
                .connect(unixDomainSocketPath: socket).get()
        } catch {
            answer.fail(error)
            throw error
        }
        let deadline = eventLoop.scheduleTask(in: timeout) { answer.fail(ChannelError.connectTimeout(timeout)) }
        defer { deadline.cancel() }
        let head = HTTPRequestHead(
            version: .http1_1, method: method, uri: uri,
            headers: ["Host": "ipvsd", "Connection": "close", "Content-Length": "0"])
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        let result: [UInt8]
        do { result = try await answer.futureResult.get() } catch {
            try? await channel.close().get()
            throw error
        }
        try? await channel.close().get()
        return result
    }
}

/// Collects one response's body.
private final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let answer: EventLoopPromise<[UInt8]>
    private var status: HTTPResponseStatus = .ok
    private var body: [UInt8] = []

    init(_ answer: EventLoopPromise<[UInt8]>) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): status = head.status
        case .body(let part): body += part.readableBytesView
        case .end:
            if status == .ok {
                answer.succeed(body)
            } else {
                answer.fail(ControlClient.Refusal(status: status.code, body: body))
            }
        }
    }

    func channelInactive(context: ChannelHandlerContext) { answer.fail(ChannelError.eof) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { answer.fail(error) }
}
