internal import Glibc
internal import LoadBalancing
internal import NIOCore
internal import NIOHTTP2
internal import NIOPosix
internal import NIOSSL

/// The checks over a TCP connection, with or without TLS.
extension ProtocolChecks {
    /// The handlers on top of a connection, with or without TLS.
    struct Layers: Sendable {
        var stage: CheckStage
        var protocols: [String]
        var add: @Sendable (CheckProgress, ChannelPipeline.SynchronousOperations) throws -> Void

        /// The protocol that TLS must negotiate, or nil for any.
        var requiredProtocol: String? { protocols == ["h2"] ? "h2" : nil }

        init(_ stage: CheckStage, dialogue: @escaping @Sendable () -> any StreamDialogue) {
            self.stage = stage
            protocols = []
            add = { progress, pipeline in
                try pipeline.addHandler(StreamHandler(progress: progress, dialogue: dialogue()))
            }
        }

        init(http version: HTTPCheck.Version, request: HTTPRequest, judge: any HTTPJudge) {
            stage = judge.stage
            switch version {
            case .http11:
                protocols = ["http/1.1"]
                add = { progress, pipeline in
                    try pipeline.addHandler(HTTP1Handler(progress: progress, request: request, judge: judge))
                }
            case .http2:
                protocols = ["h2"]
                add = { progress, pipeline in
                    var configuration = NIOHTTP2Handler.ConnectionConfiguration()
                    // The limit of header fields is the same as in HTTP/1.1.
                    configuration.initialSettings = [
                        HTTP2Setting(parameter: .maxConcurrentStreams, value: 100),
                        HTTP2Setting(parameter: .maxHeaderListSize, value: HTTP1ResponseReader.mostHeadBytes),
                    ]
                    configuration.maximumSequentialContinuationFrames = 32
                    let multiplexer = try pipeline.configureHTTP2Pipeline(
                        mode: .client, connectionConfiguration: configuration, streamConfiguration: .init()
                    ) { $0.close() }
                    try pipeline.addHandler(
                        HTTP2Opener(progress: progress, multiplexer: multiplexer, request: request, judge: judge))
                }
            }
        }
    }

    func connect(
        to port: UInt16, by way: Check.Way, tls: TLSOptions? = nil, progress: CheckProgress, layers: Layers
    ) {
        guard let tls else {
            return connect(to: port, by: way, tls: nil, context: nil, progress: progress, layers: layers)
        }
        contexts.context(for: tls, protocols: layers.protocols, progress: progress) { progress, result in
            switch result {
            case .success(let context):
                self.connect(to: port, by: way, tls: tls, context: context, progress: progress, layers: layers)
            case .failure(let error):
                // The failure precedes the connection: trust roots cannot be read, or hold no certificate.
                progress.failForShortage(of: CheckErrorText.text(error))
            }
        }
    }

    private func connect(
        to port: UInt16, by way: Check.Way, tls: TLSOptions?, context: NIOSSLContext?, progress: CheckProgress,
        layers: Layers
    ) {
        guard !progress.isOver else { return }
        progress.stage = .connect
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        var bootstrap = ClientBootstrap(group: progress.eventLoop)
        for (option, value) in way.socketOptions { bootstrap = bootstrap.channelOption(option, value: value) }
        do {
            if let source = way.source { bootstrap = bootstrap.bind(to: try source.socketAddress(port: 0)) }
            // The deadline of the check is the only limit.
            bootstrap = bootstrap.connectTimeout(.hours(24)).channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let progress = bound.value
                    // With a reset instead of a FIN, neither side keeps any state of the check.
                    (channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
                        .whenFailure { _ in }
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(
                        CheckSupervisor(
                            progress: progress, stageOnceConnected: layers.stage, hasHandshake: context != nil))
                    if let context, let tls {
                        try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: tls.serverName))
                        try pipeline.addHandler(
                            HandshakeObserver(
                                progress: progress, options: tls, stageOnceReady: layers.stage,
                                requiredProtocol: layers.requiredProtocol))
                    }
                    try layers.add(progress, pipeline)
                }
            }
            bootstrap.connect(to: try way.destination.socketAddress(port: port))
                .whenFailure { bound.value.fail(by: $0) }
        } catch {
            progress.fail(by: error)
        }
    }
}

/// The pipeline event that the peer is ready for data: connected, and past the handshake if there is TLS.
struct PeerIsReady {}

/// The handler next to the socket. Its close does not pass through TLS, which would wait for the peer's close_notify.
private final class CheckSupervisor: ChannelInboundHandler {
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
        // The end of the connection may complete a response.
        context.fireChannelInactive()
        progress.fail("\(progress.stage): \(CheckErrorText.closed)")
    }
}

/// The handler that runs a dialogue over a connection.
private final class StreamHandler: ChannelInboundHandler {
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
