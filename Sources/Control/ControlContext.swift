internal import HTTPTypes
public import Hummingbird
internal import NIOCore

/// The context of a request, with the state of its connection.
public struct ControlContext: RequestContext {
    public var coreContext: CoreRequestContextStorage
    private let channel: any Channel

    public init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }

    /// A function that returns whether the client still waits, without a turn on the event loop. The director calls the
    /// function when it begins with the request.
    var isStillAwaited: @Sendable () -> Bool {
        let channel = channel
        return { channel.isActive }
    }

    /// Whether the client still waits, so has not closed its socket.
    var isAwaited: Bool {
        get async {
            let channel = channel
            // The event loop runs this after it has read all input that has arrived, such as an end of the stream.
            return (try? await channel.eventLoop.submit { channel.isActive }.get()) ?? false
        }
    }
}

/// A middleware that refuses a POST whose client has closed its socket. A daemon that was suspended or busy would
/// otherwise carry out an order that its operator has given up. A request with which the daemon has begun is completed.
struct OnlyWhileAwaited: RouterMiddleware {
    @concurrent func handle(
        _ request: Request, context: ControlContext,
        next: @concurrent (Request, ControlContext) async throws -> Response
    ) async throws -> Response {
        if request.method == .post, await !context.isAwaited { throw HTTPError(.requestTimeout) }
        return try await next(request, context)
    }
}

/// A handler that closes a connection a grace time after a graceful shutdown began. A client that has stopped reading
/// would otherwise keep the daemon running.
final class ConnectionDeadline: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = Never

    /// The grace time. A daemon that replaces this daemon waits longer for its end.
    private static let grace = TimeAmount.seconds(2)

    private var end: Scheduled<Void>?

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent, end == nil {
            let channel = context.channel
            end = context.eventLoop.scheduleTask(in: Self.grace) { channel.close(promise: nil) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        end?.cancel()
        context.fireChannelInactive()
    }
}
