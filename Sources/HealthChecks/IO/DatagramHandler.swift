internal import NIOCore

/// Hears the datagrams that come back.
final class DatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let progress: CheckProgress
    private let dialogue: any DatagramDialogue

    init(progress: CheckProgress, dialogue: any DatagramDialogue) {
        self.progress = progress
        self.dialogue = dialogue
    }

    func handlerAdded(context: ChannelHandlerContext) {
        progress.hangUp = { context.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let outcome = dialogue.judge(Array(unwrapInboundIn(data).data.readableBytesView)) else { return }
        progress.hostAnswered = true
        progress.end(outcome)
    }

    /// Such as "connection refused", for ICMP's "port unreachable".
    func errorCaught(context: ChannelHandlerContext, error: any Error) { progress.fail(by: error) }
}
