public import Hummingbird
internal import HTTPTypes
internal import NIOCore

/// A request, and whether anybody waits for its answer.
public struct ControlContext: RequestContext {
    public var coreContext: CoreRequestContextStorage
    private let channel: any Channel

    public init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }

    /// The same from where the event loop is not waited for: once more, when the director has time for the request.
    var isStillAwaited: @Sendable () -> Bool {
        let channel = channel
        return { channel.isActive }
    }

    /// False once the other side has closed its socket: it gave up, or was killed.
    var isAwaited: Bool {
        get async {
            let channel = channel
            // By the event loop, behind whatever has come in already: an end of the stream, too.
            return (try? await channel.eventLoop.submit { channel.isActive }.get()) ?? false
        }
    }
}

/// What somebody asked for who has gone is not done: a daemon that was stopped or busy meanwhile would surprise him
/// later. What has begun is carried through.
struct OnlyWhileAwaited: RouterMiddleware {
    @concurrent func handle(
        _ request: Request, context: ControlContext,
        next: @concurrent (Request, ControlContext) async throws -> Response
    ) async throws -> Response {
        if request.method == .post, await !context.isAwaited { throw HTTPError(.requestTimeout) }
        return try await next(request, context)
    }
}
