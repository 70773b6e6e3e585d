internal import LoadBalancing
internal import NIOCore

/// An ICMP echo request and the recognition of its reply (RFC 792).
struct EchoRequest: Sendable {
    let identifier: UInt16
    let destination: IPv4Address

    /// The ICMP message: type, code, checksum, identifier, sequence number 1.
    var bytes: [UInt8] {
        let identifier = [UInt8(self.identifier >> 8), UInt8(self.identifier & 255)]
        let sum = 0x0800 + UInt32(self.identifier) + 1
        let checksum = ~UInt16(truncatingIfNeeded: (sum & 0xFFFF) + sum >> 16)
        return [8, 0, UInt8(checksum >> 8), UInt8(checksum & 255)] + identifier + [0, 1]
    }

    /// `packet` as a raw socket delivers it: with its IP header.
    func isAnswered(by packet: ByteBuffer) -> Bool {
        guard let first = packet.getInteger(at: packet.readerIndex, as: UInt8.self) else { return false }
        let start = packet.readerIndex
        let icmp = start + Int(first & 15) * 4
        return packet.getInteger(at: start + 12, as: UInt32.self) == destination.value
            && packet.getInteger(at: icmp, as: UInt8.self) == 0
            && packet.getInteger(at: icmp + 4, as: UInt16.self) == identifier
    }
}

/// Completes the promise when the echo's reply comes in.
final class EchoHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let echo: EchoRequest
    private let answered: EventLoopPromise<Void>

    init(echo: EchoRequest, answered: EventLoopPromise<Void>) {
        self.echo = echo
        self.answered = answered
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if echo.isAnswered(by: unwrapInboundIn(data).data) { answered.succeed() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { answered.fail(error) }
}
