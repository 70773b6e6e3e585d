internal import Addresses
internal import NIOCore

/// Carries a search for the path's MTU over a raw socket.
final class MTUProbe: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    private let progress: CheckProgress
    private let full: Int
    private let echo: EchoRequest
    private let destination: SocketAddress
    private let wait: TimeAmount
    private var search: PathMTUSearch
    /// Random, as the identifier: whoever makes up an answer has 32 bits to guess.
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

    /// A "fragmentation needed" that another socket heard.
    func hear(_ packet: ByteBuffer, context: ChannelHandlerContext) {
        guard let limit = echo.largest(toldBy: packet, sequence: sequence) else { return }
        perform(search.told(limit: limit == 0 ? nil : limit), context: context)
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
        let asked = sequence
        let loop = context.eventLoop.assumeIsolated()
        timer = loop.scheduleTask(in: wait) {
            if asked == self.sequence { self.perform(self.search.silent(), context: context) }
        }
        let bytes = echo.bytes(sequence: sequence, size: size)
        let packet = AddressedEnvelope(remoteAddress: destination, data: ByteBuffer(bytes: bytes))
        context.writeAndFlush(wrapOutboundOut(packet)).assumeIsolated().whenFailure { error in
            guard asked == self.sequence else { return }
            // EMSGSIZE: larger than the device takes.
            if error as? ChannelError == .writeMessageTooLarge {
                self.perform(self.search.told(limit: nil), context: context)
            } else {
                self.progress.fail(by: error)
            }
        }
    }

    private func end(_ result: PathMTUSearch.Result) {
        switch result {
        case .unreachable(let limit):
            progress.pathMTU = limit
            let told = limit.map { "; a router lets through packets of up to \($0) bytes" } ?? ""
            progress.fail("answer: none, not even to a packet of \(MTUCheck.least) bytes\(told)")
        case .passes(let size, told: _) where size == full:
            progress.pass(pathMTU: size)
        case .passes(let size, told: true):
            progress.pass(pathMTU: size, note: "packets of more than \(size) bytes are too big, and the path says so")
        case .passes(let size, told: false):
            progress.pathMTU = size
            progress.fail("black hole: packets of \(size + 1) bytes and more vanish (\(full) expected to pass)")
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { progress.fail(by: error) }
}

/// Hears what routers say, on whatever interface it comes in.
final class ErrorListener: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    var heard: ((ByteBuffer) -> Void)?

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { heard?(unwrapInboundIn(data).data) }
}
