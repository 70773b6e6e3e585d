internal import LoadBalancing
internal import NIOCore
internal import NIOHPACK
internal import NIOHTTP2

/// The part of a check that passes a response to its judge, and acts on the steps.
private final class ResponseHandling {
    private static let searches = WorkThreads<SearchTurn>(limit: 2)

    private let progress: CheckProgress
    private var judge: any HTTPJudge

    init(progress: CheckProgress, judge: any HTTPJudge) {
        self.progress = progress
        self.judge = judge
    }

    func receive(_ event: HTTPEvent) {
        guard !progress.isOver else { return }
        let step = judge.receive(event)
        progress.stage = judge.stage
        switch step {
        case .wait: break
        case .end(let outcome): progress.end(outcome)
        case .search(let body, let patterns): search(body, for: patterns)
        }
    }

    private func search(_ body: [UInt8], for patterns: [Pattern]) {
        progress.releasePeer()
        let turn = SearchTurn(service: progress.service, patterns: patterns)
        // A search has limits of its own. If it has no result by the deadline, this machine gave it too little
        // processor time.
        progress.run(on: Self.searches, turn, shortage: "no thread searched the body in time") {
            Pattern.search(body, for: patterns)
        } completion: { progress, result in
            switch result {
            case .found: progress.pass()
            case .lacks(let pattern): progress.end(.failed("body does not match /\(pattern)/"))
            case .tooCostly(let pattern):
                let limit = "\(SearchTime.limit.nanoseconds / 1_000_000) ms, \(Expression.heapLimit >> 10) MiB"
                progress.end(
                    .failed("body match: the search for /\(pattern)/ takes too much time or memory (\(limit) at most)"))
            case .noMemory: progress.endForShortage(of: "no memory to search the body")
            }
        }
    }
}

/// The key of a search. Searches with equal keys run one at a time. A check's searches have equal keys for all real
/// servers of a service.
private struct SearchTurn: Hashable {
    var service: ServiceAddress?
    var patterns: [Pattern]
}

/// The handler of one request by HTTP/1.1.
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

/// The handler that opens the stream of a check by HTTP/2, and gets the connection's errors.
final class HTTP2Opener: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame

    private let progress: CheckProgress
    private let multiplexer: NIOHTTP2Handler.StreamMultiplexer
    private let request: HTTPRequest
    private let judge: any HTTPJudge

    init(
        progress: CheckProgress, multiplexer: NIOHTTP2Handler.StreamMultiplexer, request: HTTPRequest,
        judge: any HTTPJudge
    ) {
        self.progress = progress
        self.multiplexer = multiplexer
        self.request = request
        self.judge = judge
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is PeerIsReady else { return }
        let progress = NIOLoopBound(progress, eventLoop: context.eventLoop)
        let (request, judge) = (request, judge)
        let opened = multiplexer.createStreamChannel { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(
                    HTTP2StreamHandler(progress: progress.value, request: request, judge: judge))
            }
        }
        opened.whenFailure { progress.value.fail(by: $0) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        progress.fail("\(progress.stage): no HTTP/2: \(CheckErrorText.text(error))")
    }
}

/// The handler of one request and its response on a stream of HTTP/2.
final class HTTP2StreamHandler: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias OutboundOut = HTTP2Frame.FramePayload

    private let progress: CheckProgress
    private let request: HTTPRequest
    private let response: ResponseHandling
    private var hasHead = false

    init(progress: CheckProgress, request: HTTPRequest, judge: any HTTPJudge) {
        self.progress = progress
        self.request = request
        self.response = ResponseHandling(progress: progress, judge: judge)
    }

    static func headers(of request: HTTPRequest) -> HPACKHeaders {
        var headers: HPACKHeaders = [
            ":method": request.method, ":scheme": request.scheme, ":authority": request.authority,
            ":path": request.path,
        ]
        for field in request.fields { headers.add(name: field.name, value: field.value) }
        return headers
    }

    func channelActive(context: ChannelHandlerContext) {
        let headers = HTTP2Frame.FramePayload.Headers(
            headers: Self.headers(of: request), endStream: request.body.isEmpty)
        context.write(wrapOutboundOut(.headers(headers)), promise: nil)
        if !request.body.isEmpty {
            let data = HTTP2Frame.FramePayload.Data(data: .byteBuffer(ByteBuffer(bytes: request.body)), endStream: true)
            context.write(wrapOutboundOut(.data(data)), promise: nil)
        }
        context.flush()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .headers(let payload):
            let fields = payload.headers.map { HTTPCheck.Field($0.name, $0.value) }
            if hasHead {
                response.receive(.trailers(fields))
            } else {
                let status = fields.first(name: ":status").flatMap { Int($0) } ?? 0
                hasHead = status >= 200
                response.receive(.head(status: status, fields: fields))
            }
            if payload.endStream { response.receive(.end) }
        case .data(let payload):
            if case .byteBuffer(let buffer) = payload.data, buffer.readableBytes > 0 {
                response.receive(.body(Array(buffer.readableBytesView)))
            }
            if payload.endStream { response.receive(.end) }
        default:
            break
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        progress.fail("\(progress.stage): stream closed by the server")
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { progress.fail(by: error) }
}
