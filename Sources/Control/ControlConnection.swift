internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// A client's HTTP over the daemon's Unix socket, with a new connection for each request.
struct ControlConnection {
    let socket: String
    /// The time limit for the beginning of an answer.
    let first: Duration
    /// The time limit between two pieces of an answer.
    let later: Duration

    /// The chunks of an answer's body.
    struct Body: AsyncSequence {
        struct AsyncIterator: AsyncIteratorProtocol {
            fileprivate var parts: NIOAsyncChannelInboundStream<HTTPClientResponsePart>.AsyncIterator

            /// Returns the next chunk; nil at the answer's end. Throws `Cut` where the connection ends first.
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

    /// Sends a request, and calls `read` with the answer's head and body. Throws `ControlClient.Silence` where the
    /// daemon does not answer.
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
            // All parts go into one write, as the daemon may answer the head and close the connection before a second
            // write.
            try await outbound.write(contentsOf: parts)
            var iterator = Body.AsyncIterator(parts: inbound.makeAsyncIterator())
            guard case .head(let answer) = try await iterator.part() else { throw ControlClient.Cut() }
            return try await read(answer, Body(iterator: iterator))
        }
    }
}

/// A handler that ends a connection when the daemon sends nothing for the time limit. The time counts only while a read
/// is pending, so a slow reader of the answer does not end the connection.
private final class SilenceLimit: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer

    private var limit: Duration
    private let later: Duration
    /// Whether the end of the connection makes the daemon drop the request. False once the answer has begun.
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
