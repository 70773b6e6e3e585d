internal import NIOCore
internal import NIOHTTP1

/// One request by HTTP/1.1.
final class HTTP1Handler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let progress: CheckProgress
    private let request: HTTPRequest
    private let response: ResponseHandling

    init(progress: CheckProgress, request: HTTPRequest, judge: any HTTPJudge) {
        self.progress = progress
        self.request = request
        self.response = ResponseHandling(progress: progress, judge: judge)
    }

    static func head(of request: HTTPRequest) -> HTTPRequestHead {
        var headers: HTTPHeaders = ["Host": request.authority]
        for field in request.fields { headers.add(name: field.name, value: field.value) }
        return HTTPRequestHead(
            version: .http1_1, method: HTTPMethod(rawValue: request.method), uri: request.path, headers: headers)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is PeerIsReady else { return }
        context.write(wrapOutboundOut(.head(Self.head(of: request))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): response.receive(.head(status: Int(head.status.code), fields: Self.fields(head.headers)))
        case .body(let buffer): response.receive(.body(Array(buffer.readableBytesView)))
        case .end: response.receive(.end)
        }
    }

    private static func fields(_ headers: HTTPHeaders) -> [HTTPCheck.Field] {
        headers.map { HTTPCheck.Field($0.name.asciiLowercased, $0.value) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { progress.fail(by: error) }
}
