internal import Addresses
internal import NIOCore
internal import NIOPosix

/// The checks by one datagram and its reply.
extension ProtocolChecks {
    func ask(
        _ dialogue: some DatagramDialogue & Sendable, port: UInt16, by way: Check.Way, progress: CheckProgress
    ) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        var bootstrap = DatagramBootstrap(group: progress.eventLoop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(
                    DatagramHandler(progress: bound.value, dialogue: dialogue))
            }
        }
        for (option, value) in way.socketOptions { bootstrap = bootstrap.channelOption(option, value: value) }
        progress.stage = .connect
        do {
            let source = try (way.source ?? .unspecified(way.destination.family)).socketAddress(port: 0)
            let destination = try way.destination.socketAddress(port: port)
            // The socket is connected, so that ICMP errors become errors of the socket.
            bootstrap.bind(to: source).flatMap { channel in
                channel.connect(to: destination).map { channel }
            }.whenComplete { result in
                let progress = bound.value
                switch result {
                case .success(let channel):
                    guard !progress.isOver else { return }
                    progress.stage = .answer
                    progress.silence = dialogue.silence
                    let data = ByteBuffer(bytes: dialogue.datagram)
                    channel.writeAndFlush(AddressedEnvelope(remoteAddress: destination, data: data))
                        .whenFailure { bound.value.fail(by: $0) }
                case .failure(let error):
                    progress.fail(by: error)
                }
            }
        } catch {
            progress.fail(by: error)
        }
    }
}

/// The handler of received datagrams.
private final class DatagramHandler: ChannelInboundHandler {
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

    /// Fails the check by an error such as "connection refused", which stands for ICMP's "port unreachable".
    func errorCaught(context: ChannelHandlerContext, error: any Error) { progress.fail(by: error) }
}
