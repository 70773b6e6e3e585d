internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// HTTP over the daemon's Unix socket, with a connection for each request.
struct ControlConnection {
    let socket: String
    /// The time to the beginning of an answer.
    let first: Duration
    /// The time from one piece of an answer to the next.
    let later: Duration

    /// The chunks of an answer's body.
    struct Body: AsyncSequence {
        struct AsyncIterator: AsyncIteratorProtocol {
            fileprivate var parts: NIOAsyncChannelInboundStream<HTTPClientResponsePart>.AsyncIterator

            /// Throws `Cut` where the daemon has gone before the end of its answer.
            mutating func next(isolation actor: isolated (any Actor)? = #isolation) async throws -> ByteBuffer? {
                if case .body(let chunk) = try await part(isolation: actor) { chunk } else { nil }
            }

            fileprivate mutating func part(
                isolation actor: isolated (any Actor)? = #isolation
            ) async throws -> HTTPClientResponsePart {
                do {
                    if let part = try await parts.next(isolation: actor) { return part }
                } catch HTTPParserError.invalidEOFState {}
                throw ControlClient.Cut()
            }
        }

        fileprivate let iterator: AsyncIterator

        func makeAsyncIterator() -> AsyncIterator { iterator }
    }

    /// Has `read` take in the answer to a request: its status and headers, and the chunks of its body. Throws
    /// `ControlClient.Silence` where the daemon does not answer.
    func request<Result>(
        _ method: HTTPMethod, _ uri: String, body: [UInt8] = [],
        _ read: (HTTPResponseHead, Body) async throws -> Result
    ) async throws -> Result {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(TimeAmount(first))
            .connect(unixDomainSocketPath: socket) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        SilenceLimit(first: first, later: later, isVoid: method == .POST))
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    return try NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>(
                        wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            let head = HTTPRequestHead(
                version: .http1_1, method: method, uri: uri,
                headers: ["Host": "ipvsd", "Connection": "close", "Content-Length": "\(body.count)"])
            let parts: [HTTPClientRequestPart] = [.head(head), .body(.byteBuffer(ByteBuffer(bytes: body))), .end(nil)]
            // At once: the daemon may have answered the first and closed before the second is written.
            try await outbound.write(contentsOf: parts)
            var iterator = Body.AsyncIterator(parts: inbound.makeAsyncIterator())
            guard case .head(let answer) = try await iterator.part() else { throw ControlClient.Cut() }
            return try await read(answer, Body(iterator: iterator))
        }
    }
}

/// Gives up on a daemon that says nothing while it is listened to: not while the reader has no time for it.
private final class SilenceLimit: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer

    private var limit: Duration
    private let later: Duration
    /// Whether the daemon drops the request with the connection: until its answer begins.
    private var isVoid: Bool
    private var end: Scheduled<Void>?

    init(first: Duration, later: Duration, isVoid: Bool) {
        limit = first
        self.later = later
        self.isVoid = isVoid
    }

    func read(context: ChannelHandlerContext) {
        if end == nil {
            let silence = ControlClient.Silence(seconds: limit.components.seconds, isVoid: isVoid)
            let channel = context.channel
            end = context.eventLoop.scheduleTask(in: TimeAmount(limit)) {
                channel.pipeline.fireErrorCaught(silence)
                channel.close(promise: nil)
            }
        }
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        rest()
        limit = later
        isVoid = false
        context.fireChannelRead(data)
    }

    func channelInactive(context: ChannelHandlerContext) {
        rest()
        context.fireChannelInactive()
    }

    private func rest() {
        end?.cancel()
        end = nil
    }
}
