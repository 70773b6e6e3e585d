internal import Addresses
internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import Packets

/// The start of checks of the path MTU.
extension ProtocolChecks {
    /// The socket option ICMP_FILTER of SOL_RAW. A set bit n drops messages of type n.
    private static let icmpFilter = ChannelOptions.socket(SocketOptionLevel(255), SocketOptionName(1))
    private static func filter(passing type: UInt32) -> SocketOptionValue {
        SocketOptionValue(bitPattern: ~(1 << type))
    }

    func probe(_ check: MTUCheck, by way: Check.Way, deadline: Duration, progress: CheckProgress) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        guard let destination = way.destination.v4 else {
            return progress.fail("\(WrongFamily(way.destination, accepted: .v4))")
        }
        let echo = EchoRequest(identifier: .random(in: .min ... .max), destination: destination)
        // A socket that is bound to the tunnel's device does not receive ICMP errors of routers, so another socket
        // receives them.
        var listener = NIORawSocketBootstrap(group: progress.eventLoop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(ICMPErrorReceiver())
            }
        }
        var bootstrap = NIORawSocketBootstrap(group: progress.eventLoop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                let probe = try MTUProbe(progress: bound.value, full: check.size, echo: echo, deadline: deadline)
                try channel.pipeline.syncOperations.addHandler(probe)
            }
        }
        for (option, value) in way.socketOptions { bootstrap = bootstrap.channelOption(option, value: value) }
        // IP_MTU_DISCOVER = IP_PMTUDISC_PROBE sets DF, and ignores the path MTU that the kernel has cached.
        bootstrap = bootstrap.channelOption(
            ChannelOptions.socket(SocketOptionLevel(IPPROTO_IP), SocketOptionName(IP_MTU_DISCOVER)), value: 3)
        // Each socket gets one ICMP type only, so that other messages cannot fill its buffer.
        bootstrap = bootstrap.channelOption(Self.icmpFilter, value: Self.filter(passing: 0))
        listener = listener.channelOption(Self.icmpFilter, value: Self.filter(passing: 3))
        let sender = bootstrap.bind(host: (way.source ?? .unspecified(.v4)).description, ipProtocol: .icmp)
        let errorSocket = listener.bind(host: "0.0.0.0", ipProtocol: .icmp)
        for opened in [sender, errorSocket] { opened.whenFailure { bound.value.fail(by: $0) } }
        sender.and(errorSocket).whenComplete { result in
            let progress = bound.value
            let channels = [sender, errorSocket]
            guard case .success(let (sender, errorSocket)) = result, !progress.isOver else {
                for opened in channels { opened.whenSuccess { $0.close(promise: nil) } }
                return
            }
            progress.hangUp = {
                sender.close(promise: nil)
                errorSocket.close(promise: nil)
            }
            do {
                let context = try sender.pipeline.syncOperations.context(handlerType: MTUProbe.self)
                let probe = try sender.pipeline.syncOperations.handler(type: MTUProbe.self)
                let listener = try errorSocket.pipeline.syncOperations.handler(type: ICMPErrorReceiver.self)
                listener.onError = { probe.receiveError($0, context: context) }
                probe.begin(context: context)
            } catch {
                progress.fail(by: error)
            }
        }
    }
}

/// The handler that runs a search for the path MTU over a raw socket.
private final class MTUProbe: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    private let progress: CheckProgress
    private let full: Int
    private let echo: EchoRequest
    private let destination: SocketAddress
    private let wait: TimeAmount
    private var search: PathMTUSearch
    /// The sequence number of the last request. It starts at random, as the identifier does, so a forger has 32 bits to
    /// guess.
    private var sequence = UInt16.random(in: .min ... .max)
    private var size = 0
    private var timer: Scheduled<Void>?

    init(progress: CheckProgress, full: Int, echo: EchoRequest, deadline: Duration) throws {
        self.progress = progress
        self.full = full
        self.echo = echo
        destination = try IPAddress.v4(echo.destination).socketAddress(port: 0)
        wait = (deadline / 40).timeAmount
        search = PathMTUSearch(full: full)
    }

    func begin(context: ChannelHandlerContext) {
        progress.stage = .answer
        perform(search.first, context: context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if echo.isAnswered(by: unwrapInboundIn(data).data, sequence: sequence) {
            progress.hostAnswered = true
            perform(search.answered(), context: context)
        }
    }

    /// Handles an ICMP error from the other socket.
    func receiveError(_ packet: ByteBuffer, context: ChannelHandlerContext) {
        guard let limit = echo.mtu(reportedBy: packet, sequence: sequence) else { return }
        perform(search.tooBig(limit: limit == 0 ? nil : limit), context: context)
    }

    private func perform(_ action: PathMTUSearch.Action, context: ChannelHandlerContext) {
        timer?.cancel()
        guard !progress.isOver else { return }
        switch action {
        case .send(let size): send(size, context: context)
        case .end(let result): end(result)
        }
    }

    private func send(_ size: Int, context: ChannelHandlerContext) {
        sequence &+= 1
        self.size = size
        let sentSequence = sequence
        let loop = context.eventLoop.assumeIsolated()
        timer = loop.scheduleTask(in: wait) {
            if sentSequence == self.sequence { self.perform(self.search.silent(), context: context) }
        }
        let bytes = echo.bytes(sequence: sequence, size: size)
        let packet = AddressedEnvelope(remoteAddress: destination, data: ByteBuffer(bytes: bytes))
        context.writeAndFlush(wrapOutboundOut(packet)).assumeIsolated().whenFailure { error in
            guard sentSequence == self.sequence else { return }
            // EMSGSIZE: the packet is larger than the device's MTU.
            if error as? ChannelError == .writeMessageTooLarge {
                self.perform(self.search.tooBig(limit: nil), context: context)
            } else {
                self.progress.fail(by: error)
            }
        }
    }

    private func end(_ result: PathMTUSearch.Result) {
        switch result {
        case .unreachable(let limit):
            progress.pathMTU = limit
            let reported = limit.map { "; a router lets through packets of up to \($0) bytes" } ?? ""
            progress.fail("answer: none, not even to a packet of \(MTUCheck.least) bytes\(reported)")
        case .passes(let size, isReported: _) where size == full:
            progress.pass(pathMTU: size)
        case .passes(let size, isReported: true):
            progress.pass(
                pathMTU: size, note: "packets of more than \(size) bytes are too big, and the path reports it")
        case .passes(let size, isReported: false):
            progress.pathMTU = size
            progress.fail("black hole: packets of \(size + 1) bytes and more vanish (\(full) expected to pass)")
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { progress.fail(by: error) }
}

/// The handler that receives ICMP errors of routers from any interface.
private final class ICMPErrorReceiver: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    var onError: ((ByteBuffer) -> Void)?

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { onError?(unwrapInboundIn(data).data) }
}

/// An ICMP echo request, and the recognition of its reply (RFC 792).
struct EchoRequest: Sendable {
    let identifier: UInt16
    let destination: IPv4Address

    /// Returns the ICMP message for an IP packet of `size` bytes, filled with zeros.
    func bytes(sequence: UInt16, size: Int) -> [UInt8] {
        var message = [UInt8](repeating: 0, count: max(ICMP.length, size - IPv4.length))
        message.write(ICMP.echoRequest, at: ICMP.type)
        message.write(identifier, at: ICMP.identifier)
        message.write(sequence, at: ICMP.sequence)
        message.write(InternetChecksum.of(message[...]), at: ICMP.checksum)
        return message
    }

    /// Returns the MTU in a "fragmentation needed" (RFC 792, RFC 1191 section 4) about this request. Returns 0 if the
    /// message has no MTU, and nil for any other message. The request may be quoted inside an IPIP header, whose length
    /// is subtracted.
    func mtu(reportedBy packet: ByteBuffer, sequence: UInt16) -> Int? {
        let packet = packet.readableBytesView
        guard let message = IPv4.payload(of: packet), packet[IPv4.protocolNumber] == IPProtocol.icmp,
            message[ICMP.type] == ICMP.unreachable, message[ICMP.code] == ICMP.fragmentationNeeded,
            let mtu = message[ICMP.nextHopMTU]
        else { return nil }
        let quoted = message.dropFirst(ICMP.length)
        var request = quoted
        if quoted[IPv4.protocolNumber] == IPProtocol.ipip {
            guard let inner = IPv4.payload(of: quoted) else { return nil }
            request = inner
        }
        guard let echo = IPv4.payload(of: request), request[IPv4.protocolNumber] == IPProtocol.icmp,
            request[IPv4.destination] == destination, echo[ICMP.type] == ICMP.echoRequest, echo[ICMP.code] == 0,
            echo[ICMP.identifier] == identifier, echo[ICMP.sequence] == sequence
        else { return nil }
        return max(0, Int(mtu) - (quoted.count - request.count))
    }

    /// Returns whether the packet is the reply. `packet` begins with its IP header, as raw sockets deliver it.
    func isAnswered(by packet: ByteBuffer, sequence: UInt16) -> Bool {
        let packet = packet.readableBytesView
        guard let message = IPv4.payload(of: packet) else { return false }
        return packet[IPv4.source] == destination && message[ICMP.type] == ICMP.echoReply
            && message[ICMP.identifier] == identifier && message[ICMP.sequence] == sequence
    }
}
