internal import NIOCore

/// Ends a connection that is still there so long after the server was told to end: one whose client has stopped
/// reading would keep the server, and with it the daemon, for ever.
final class ConnectionDeadline: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = Never

    /// Less than a daemon that replaces this one waits.
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
