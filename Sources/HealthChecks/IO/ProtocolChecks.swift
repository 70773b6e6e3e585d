internal import LoadBalancing
internal import NIOCore

/// The start of all checks except TCP connects and ICMP echoes. They need a channel, a program or a file.
struct ProtocolChecks: Sendable {
    /// A closure that ends a check at once, unless it has ended already.
    typealias Cancellation = @Sendable () -> Void

    let contexts = TLSContexts()
    private let group: any EventLoopGroup

    init(group: any EventLoopGroup) { self.group = group }

    /// Starts a check, and returns its cancellation. `completion` is called once, on an event loop.
    func begin(
        _ check: Check, of service: ServiceAddress?, by way: Check.Way, deadline: Duration,
        completion: @escaping @Sendable (CheckVerdict, Duration) -> Void
    ) -> Cancellation {
        let eventLoop = group.next()
        let began = NIODeadline.now()
        let box = NIOLoopBoundBox.makeEmptyBox(valueType: CheckProgress.self, eventLoop: eventLoop)
        // The task runs before any cancellation, as an event loop keeps the order.
        eventLoop.execute {
            let progress = CheckProgress(
                stage: .start, service: service, began: began, timeout: deadline, eventLoop: eventLoop,
                completion: completion)
            box.value = progress
            start(check, by: way, deadline: deadline, progress: progress)
        }
        return { eventLoop.execute { box.value?.cancel() } }
    }

    private func start(_ check: Check, by way: Check.Way, deadline: Duration, progress: CheckProgress) {
        if let problem = check.problem { return progress.fail("start: \(problem)") }
        switch check {
        case .echo, .tcp: preconditionFailure("\(check) belongs to ProbeLoop")
        case .mtu(let check):
            probe(check, by: way, deadline: deadline, progress: progress)
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
