internal import NIOCore
internal import NIOHTTP1

/// The handler of a connection to the metrics. It handles the next request once the kernel has taken the answer to the
/// previous request.
final class MetricsHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let desk: MetricsDesk
    private var isAdmitted = false
    /// Whether the connection ends after the current answer, so that no more requests are handled.
    private var isEnding = false
    private var request: HTTPRequestHead?
    private var limit: Scheduled<Void>?

    init(desk: MetricsDesk) { self.desk = desk }

    func channelActive(context: ChannelHandlerContext) {
        isAdmitted = desk.admit()
        guard isAdmitted else { return context.close(promise: nil) }
        allow(desk.limits.exchange, context: context)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        limit?.cancel()
        limit = nil
        if isAdmitted { desk.leave() }
        isAdmitted = false
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard isAdmitted, !isEnding else { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            request = head
            allow(desk.limits.exchange, context: context)
        // The body of a request is dropped.
        case .body: break
        case .end:
            guard let request else { return }
            self.request = nil
            answer(request, context: context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    /// Sets the time after which the connection is closed, in place of the former limit.
    private func allow(_ time: Duration, context: ChannelHandlerContext) {
        limit?.cancel()
        limit = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(time)) { context.close(promise: nil) }
    }

    private func answer(_ request: HTTPRequestHead, context: ChannelHandlerContext) {
        let path = request.uri.prefix { $0 != "?" }
        guard path == "/metrics" else { return send(.notFound, to: request, context: context) }
        guard request.method == .GET || request.method == .HEAD else {
            return send(.methodNotAllowed, to: request, context: context)
        }
        guard desk.mayAnswer() else { return send(.tooManyRequests, to: request, context: context) }
        let promise = context.eventLoop.makePromise(of: ByteBuffer?.self)
        promise.completeWithTask { [text = desk.text] in try await text.text() }
        promise.futureResult.assumeIsolated().whenComplete { result in
            guard self.isAdmitted else { return }
            switch result {
            case .success(let text?): self.send(.ok, text, to: request, context: context)
            case .success(nil), .failure: self.send(.serviceUnavailable, to: request, context: context)
            }
        }
    }

    private func send(
        _ status: HTTPResponseStatus, _ body: ByteBuffer = ByteBuffer(), to request: HTTPRequestHead,
        context: ChannelHandlerContext
    ) {
        let stays = status == .ok && request.isKeepAlive
        isEnding = !stays
        var headers: HTTPHeaders = ["Server": "ipvsd", "Content-Length": "\(body.readableBytes)"]
        if status == .ok { headers.add(name: "Content-Type", value: MetricsText.contentType) }
        if status == .methodNotAllowed { headers.add(name: "Allow", value: "GET, HEAD") }
        if !stays { headers.add(name: "Connection", value: "close") }
        allow(desk.limits.exchange, context: context)
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        let sent = context.eventLoop.makePromise(of: Void.self)
        // All connections share the storage of the buffer.
        let body = request.method == .HEAD ? ByteBuffer() : body
        context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(body))), promise: sent)
        sent.futureResult.assumeIsolated().whenComplete { result in
            guard self.isAdmitted, case .success = result else { return context.close(promise: nil) }
            self.allow(self.desk.limits.rest, context: context)
            // The end of the answer lets the next pipelined request in.
            let end = context.writeAndFlush(self.wrapOutboundOut(.end(nil)))
            if !stays { end.assumeIsolated().whenComplete { _ in context.close(promise: nil) } }
        }
    }
}
