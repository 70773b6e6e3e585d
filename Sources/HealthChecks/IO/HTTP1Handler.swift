internal import NIOCore

/// One request by HTTP/1.1.
final class HTTP1Handler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let progress: CheckProgress
    private let request: HTTPRequest
    private let response: ResponseHandling
    private var reader: HTTP1ResponseReader

    init(progress: CheckProgress, request: HTTPRequest, judge: any HTTPJudge) {
        self.progress = progress
        self.request = request
        self.response = ResponseHandling(progress: progress, judge: judge)
        reader = HTTP1ResponseReader(method: request.method)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is PeerIsReady else { return }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: request.http1Head)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !progress.isOver else { return }
        do {
            for event in try reader.receive(Array(unwrapInboundIn(data).readableBytesView)) { response.receive(event) }
        } catch {
            progress.fail("\(progress.stage): no HTTP/1.1 response (\(error.reason))")
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        for event in reader.finish() { response.receive(event) }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { progress.fail(by: error) }
}
