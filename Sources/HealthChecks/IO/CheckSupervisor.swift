internal import NIOCore

/// Marks, in the pipeline, that the peer can be spoken to: it is connected, and TLS is up where there is TLS.
struct PeerIsReady {}

/// Stands nearest to the socket, so that hanging up asks nobody: not TLS, which would await the peer's close_notify.
final class CheckSupervisor: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let progress: CheckProgress
    private let stageOnceConnected: CheckStage
    private let hasHandshake: Bool

    init(progress: CheckProgress, stageOnceConnected: CheckStage, hasHandshake: Bool) {
        self.progress = progress
        self.stageOnceConnected = stageOnceConnected
        self.hasHandshake = hasHandshake
    }

    func handlerAdded(context: ChannelHandlerContext) {
        progress.hangUp = { context.close(promise: nil) }
    }

    func channelActive(context: ChannelHandlerContext) {
        progress.hostAnswered = true
        progress.stage = hasHandshake ? .handshake : stageOnceConnected
        context.fireChannelActive()
        if !hasHandshake { context.fireUserInboundEventTriggered(PeerIsReady()) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        // Its end may be what completes a response.
        context.fireChannelInactive()
        progress.fail("\(progress.stage): \(CheckErrorText.closed)")
    }
}
