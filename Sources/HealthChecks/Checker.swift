public import NIOCore
internal import Glibc
internal import LoadBalancing
internal import NIOHTTP1
internal import NIOHTTP2
internal import NIOPosix
internal import NIOSSL

/// Asks real servers. Every check ends at its deadline, whatever its peer does, and leaves nothing behind.
public struct Checker: Sendable {
    private let group: any EventLoopGroup
    private let contexts = TLSContexts()

    public init(group: any EventLoopGroup) { self.group = group }

    /// `deadline` is counted from the call. A cancelled task ends the check at once, as a failure.
    public func run(_ check: Check, by way: Prober.Way, deadline: Duration) async -> CheckVerdict {
        let eventLoop = group.next()
        let began = NIODeadline.now()
        let verdict = eventLoop.makePromise(of: CheckVerdict.self)
        let box = NIOLoopBoundBox.makeEmptyBox(valueType: CheckProgress.self, eventLoop: eventLoop)
        // Before there can be a cancellation to hear of: an event loop keeps the order.
        eventLoop.execute {
            let progress = CheckProgress(
                stage: .start, began: began, timeout: deadline, verdict: verdict, eventLoop: eventLoop)
            box.value = progress
            start(check, by: way, deadline: deadline, progress: progress)
        }
        return await withTaskCancellationHandler {
            do {
                return try await verdict.futureResult.get()
            } catch {
                return .failed(CheckVerdict.Failure(stage: .start, reason: "start: \(error)"))
            }
        } onCancel: {
            eventLoop.execute { box.value?.end(.failed("cancelled")) }
        }
    }

    private func start(_ check: Check, by way: Prober.Way, deadline: Duration, progress: CheckProgress) {
        if let problem = check.problem { return progress.fail("start: \(problem)") }
        switch check {
        case .echo:
            let echo = EchoRequest(identifier: .random(in: .min ... .max), destination: way.destination)
            ask(EchoDialogue(echo: echo), port: nil, by: way, progress: progress)
        case .mtu(let check):
            probe(check, by: way, deadline: deadline, progress: progress)
        case .tcp(let check):
            connect(to: check.port, by: way, progress: progress, layers: Layers(.connect) { SilentDialogue() })
        case .tls(let check):
            connect(
                to: check.port, by: way, tls: check.options, progress: progress,
                layers: Layers(.handshake) { SilentDialogue() })
        case .smtp(let check):
            connect(
                to: check.port, by: way, progress: progress,
                layers: Layers(.greeting) { SMTPDialogue(helo: check.helo) })
        case .dns(let check):
            let dialogue = DNSDialogue(check, identifier: .random(in: .min ... .max))
            switch check.transport {
            case .udp: ask(dialogue, port: check.port, by: way, progress: progress)
            case .tcp: connect(to: check.port, by: way, progress: progress, layers: Layers(.answer) { dialogue })
            }
        case .udp(let check):
            ask(UDPDialogue(check: check), port: check.port, by: way, progress: progress)
        case .http(let check):
            connect(
                to: check.port, by: way, tls: check.handshake, progress: progress,
                layers: Layers(
                    http: check.version, request: check.request(to: way.destination), judge: HTTPResponseJudge(check)))
        case .grpc(let check):
            connect(
                to: check.port, by: way, tls: check.handshake, progress: progress,
                layers: Layers(
                    http: .http2, request: check.request(to: way.destination), judge: GRPCJudge(service: check.service))
            )
        case .script(let check):
            run(check, by: way, deadline: deadline, progress: progress)
        case .file(let check):
            read(check, progress: progress)
        }
    }
}

// MARK: - Connections

extension Checker {
    /// What is put on a connection, on TLS or not.
    private struct Layers: Sendable {
        var stage: CheckStage
        var protocols: [String]
        var add: @Sendable (CheckProgress, ChannelPipeline.SynchronousOperations) throws -> Void

        /// The protocol that TLS has to negotiate.
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
                    try pipeline.addHandler(HTTPRequestEncoder())
                    try pipeline.addHandler(
                        ByteToMessageHandler(HTTPResponseDecoder(leftOverBytesStrategy: .dropBytes)))
                    try pipeline.addHandler(HTTP1Handler(progress: progress, request: request, judge: judge))
                }
            case .http2:
                protocols = ["h2"]
                add = { progress, pipeline in
                    let multiplexer = try pipeline.configureHTTP2Pipeline(
                        mode: .client, connectionConfiguration: .init(), streamConfiguration: .init()
                    ) { $0.close() }
                    try pipeline.addHandler(
                        HTTP2Opener(progress: progress, multiplexer: multiplexer, request: request, judge: judge))
                }
            }
        }
    }

    private func connect(
        to port: UInt16, by way: Prober.Way, tls: TLSOptions? = nil, progress: CheckProgress, layers: Layers
    ) {
        guard let tls else {
            return connect(to: port, by: way, tls: nil, context: nil, progress: progress, layers: layers)
        }
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        contexts.context(for: tls, protocols: layers.protocols, eventLoop: progress.eventLoop).whenComplete { result in
            switch result {
            case .success(let context):
                self.connect(to: port, by: way, tls: tls, context: context, progress: bound.value, layers: layers)
            case .failure(let error):
                bound.value.fail(by: error)
            }
        }
    }

    private func connect(
        to port: UInt16, by way: Prober.Way, tls: TLSOptions?, context: NIOSSLContext?, progress: CheckProgress,
        layers: Layers
    ) {
        guard !progress.isOver else { return }
        progress.stage = .connect
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        var bootstrap = ClientBootstrap(group: progress.eventLoop)
        for (option, value) in way.socketOptions { bootstrap = bootstrap.channelOption(option, value: value) }
        do {
            if let source = way.source { bootstrap = bootstrap.bind(to: try source.socketAddress(port: 0)) }
            // Longer than any deadline, which alone counts.
            bootstrap = bootstrap.connectTimeout(.hours(24)).channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let progress = bound.value
                    // A reset instead of a FIN: neither side keeps anything of the check.
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

// MARK: - Datagrams

extension Checker {
    /// `port` nil: ICMP by a raw socket.
    private func ask(
        _ dialogue: some DatagramDialogue & Sendable, port: UInt16?, by way: Prober.Way, progress: CheckProgress
    ) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        let initializer: @Sendable (any Channel) -> EventLoopFuture<Void> = { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(
                    DatagramHandler(progress: bound.value, dialogue: dialogue))
            }
        }
        let source = way.source ?? IPv4Address(0)
        let opened: EventLoopFuture<any Channel>
        do {
            let destination = try way.destination.socketAddress(port: port ?? 0)
            if port != nil {
                var bootstrap = DatagramBootstrap(group: progress.eventLoop).channelInitializer(initializer)
                for (option, value) in way.socketOptions { bootstrap = bootstrap.channelOption(option, value: value) }
                progress.stage = .connect
                // Connected, so that ICMP's errors come back as the socket's.
                opened = bootstrap.bind(to: try source.socketAddress(port: 0)).flatMap { channel in
                    channel.connect(to: destination).map { channel }
                }
            } else {
                var bootstrap = NIORawSocketBootstrap(group: progress.eventLoop).channelInitializer(initializer)
                for (option, value) in way.socketOptions { bootstrap = bootstrap.channelOption(option, value: value) }
                opened = bootstrap.bind(host: source.description, ipProtocol: .icmp)
            }
            opened.whenComplete { result in
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

// MARK: - Path MTU

extension Checker {
    private func probe(_ check: MTUCheck, by way: Prober.Way, deadline: Duration, progress: CheckProgress) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        let echo = EchoRequest(identifier: .random(in: .min ... .max), destination: way.destination)
        // A socket that is bound to the tunnel's device hears no router.
        let listener = NIORawSocketBootstrap(group: progress.eventLoop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(ErrorListener())
            }
        }
        var bootstrap = NIORawSocketBootstrap(group: progress.eventLoop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                let probe = try MTUProbe(progress: bound.value, full: check.size, echo: echo, deadline: deadline)
                try channel.pipeline.syncOperations.addHandler(probe)
            }
        }
        for (option, value) in way.socketOptions { bootstrap = bootstrap.channelOption(option, value: value) }
        // IP_MTU_DISCOVER = IP_PMTUDISC_PROBE: DF, and what the kernel remembers of the path does not matter.
        bootstrap = bootstrap.channelOption(
            ChannelOptions.socket(SocketOptionLevel(IPPROTO_IP), SocketOptionName(IP_MTU_DISCOVER)), value: 3)
        let sender = bootstrap.bind(host: (way.source ?? IPv4Address(0)).description, ipProtocol: .icmp)
        let ears = listener.bind(host: "0.0.0.0", ipProtocol: .icmp)
        for opened in [sender, ears] { opened.whenFailure { bound.value.fail(by: $0) } }
        sender.and(ears).whenComplete { result in
            let progress = bound.value
            let channels = [sender, ears]
            guard case .success(let (sender, ears)) = result, !progress.isOver else {
                for opened in channels { opened.whenSuccess { $0.close(promise: nil) } }
                return
            }
            progress.hangUp = {
                sender.close(promise: nil)
                ears.close(promise: nil)
            }
            do {
                let context = try sender.pipeline.syncOperations.context(handlerType: MTUProbe.self)
                let probe = try sender.pipeline.syncOperations.handler(type: MTUProbe.self)
                let listener = try ears.pipeline.syncOperations.handler(type: ErrorListener.self)
                listener.heard = { probe.hear($0, context: context) }
                probe.begin(context: context)
            } catch {
                progress.fail(by: error)
            }
        }
    }
}

// MARK: - What the host itself says

extension Checker {
    private func run(_ check: ScriptCheck, by way: Prober.Way, deadline: Duration, progress: CheckProgress) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        let environment = ScriptEnvironment.variables(check, by: way, timeout: deadline)
        let run = ScriptRun()
        progress.stage = .run
        progress.hangUp = { run.kill() }
        run.start(arguments: check.arguments, environment: environment, eventLoop: progress.eventLoop) { result in
            // That it cannot be started says nothing about the real server.
            if case .failure = result { bound.value.isOwn = true }
            switch result.flatMap(\.judgement) {
            case .success(let weight): bound.value.pass(weight: weight)
            case .failure(let failure): bound.value.fail(failure.reason)
            }
        }
    }

    private func read(_ check: FileCheck, progress: CheckProgress) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        progress.stage = .read
        // A file system may stall.
        NIOThreadPool.singleton.runIfActive(eventLoop: progress.eventLoop) { try FileReader.read(check.path) }
            .whenComplete { result in
                switch result {
                case .success(let bytes):
                    let text = String(decoding: bytes, as: UTF8.self)
                    if let weight = WeightText.parse(text) {
                        bound.value.pass(weight: weight)
                    } else {
                        let quoted = UDPDialogue.quoted(Array(bytes.prefix { $0 != 10 }))
                        bound.value.fail("\(check.path): \(quoted) is no weight, 0 to 65535")
                    }
                case .failure(let error):
                    bound.value.fail((error as? ScriptFailure)?.reason ?? "\(error)")
                }
            }
    }
}
