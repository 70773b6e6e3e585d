internal import Addresses
internal import NIOCore
internal import Packets

/// An ICMP echo request and the recognition of its reply (RFC 792).
struct EchoRequest: Sendable {
    let identifier: UInt16
    let destination: IPv4Address

    /// The ICMP message of an IP packet of `size` bytes, filled with zeros.
    func bytes(sequence: UInt16, size: Int) -> [UInt8] {
        var message = [UInt8](repeating: 0, count: max(ICMP.length, size - IPv4.length))
        message.write(ICMP.echoRequest, at: ICMP.type)
        message.write(identifier, at: ICMP.identifier)
        message.write(sequence, at: ICMP.sequence)
        message.write(InternetChecksum.of(message[...]), at: ICMP.checksum)
        return message
    }

    /// What a "fragmentation needed" (RFC 792, RFC 1191 section 4) about this request says the largest packet is, 0 where
    /// it does not say. The request may be quoted inside an IPIP header, whose bytes are not counted then. nil: it is
    /// another message.
    func largest(toldBy packet: ByteBuffer, sequence: UInt16) -> Int? {
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

    /// `packet` as a raw socket delivers it: with its IP header.
    func isAnswered(by packet: ByteBuffer, sequence: UInt16) -> Bool {
        let packet = packet.readableBytesView
        guard let message = IPv4.payload(of: packet) else { return false }
        return packet[IPv4.source] == destination && message[ICMP.type] == ICMP.echoReply
            && message[ICMP.identifier] == identifier && message[ICMP.sequence] == sequence
    }
}
