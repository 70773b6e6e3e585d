internal import NIOCore

/// Carries a dialogue over a connection.
final class StreamHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let progress: CheckProgress
    private var dialogue: any StreamDialogue

    init(progress: CheckProgress, dialogue: any StreamDialogue) {
        self.progress = progress
        self.dialogue = dialogue
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is PeerIsReady { perform(dialogue.open(), context: context) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !progress.isOver else { return }
        perform(dialogue.receive(Array(unwrapInboundIn(data).readableBytesView)), context: context)
    }

    private func perform(_ step: StreamStep, context: ChannelHandlerContext) {
        progress.stage = dialogue.stage
        switch step {
        case .wait: break
        case .send(let bytes): context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
        case .end(let outcome): progress.end(outcome)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { progress.fail(by: error) }
}
