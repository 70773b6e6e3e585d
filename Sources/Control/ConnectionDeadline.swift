internal import NIOCore

/// Closes a connection that outlasts a graceful shutdown by the grace time. A client that has stopped reading would
/// otherwise keep the daemon running.
final class ConnectionDeadline: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = Never

    /// The grace time. A daemon that replaces this one waits longer.
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
