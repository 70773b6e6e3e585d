internal import LoadBalancing
internal import NIOCore

/// An ICMP echo request and the recognition of its reply (RFC 792).
struct EchoRequest: Sendable {
    let identifier: UInt16
    let destination: IPv4Address

    /// The ICMP message (type, code, checksum, identifier, sequence number) of an IP packet of `size` bytes, filled with
    /// zeros.
    func bytes(sequence: UInt16, size: Int) -> [UInt8] {
        let sum = 0x0800 + UInt32(identifier) + UInt32(sequence)
        let folded = (sum & 0xFFFF) + sum >> 16
        let checksum = ~UInt16(truncatingIfNeeded: folded + folded >> 16)
        let words = [0x0800, checksum, identifier, sequence]
        return words.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] } + [UInt8](repeating: 0, count: max(0, size - 28))
    }

    /// What a "fragmentation needed" (RFC 792, RFC 1191 section 4) about this request says the largest packet is, 0 where
    /// it does not say. The request may be quoted inside an IPIP header, whose bytes are not counted then. nil: it is
    /// another message.
    func largest(toldBy packet: ByteBuffer, sequence: UInt16) -> Int? {
        var position = packet.readerIndex
        func u16(_ offset: Int) -> UInt16? { packet.getInteger(at: position + offset, as: UInt16.self) }
        func skipHeader() -> UInt8? {
            guard let first = packet.getInteger(at: position, as: UInt8.self), first >> 4 == 4, first & 15 >= 5,
                let next = packet.getInteger(at: position + 9, as: UInt8.self)
            else { return nil }
            position += Int(first & 15) * 4
            return next
        }
        guard skipHeader() == 1, u16(0) == 0x0304, let mtu = u16(6) else { return nil }
        position += 8
        var start = position
        var around = 0
        guard var next = skipHeader() else { return nil }
        if next == 4 {
            around = position - start
            start = position
            guard let inner = skipHeader() else { return nil }
            next = inner
        }
        guard next == 1, packet.getInteger(at: start + 16, as: UInt32.self) == destination.value, u16(0) == 0x0800,
            u16(4) == identifier, u16(6) == sequence
        else { return nil }
        return max(0, Int(mtu) - around)
    }

    /// `packet` as a raw socket delivers it: with its IP header.
    func isAnswered(by packet: ByteBuffer, sequence: UInt16) -> Bool {
        guard let first = packet.getInteger(at: packet.readerIndex, as: UInt8.self) else { return false }
        let start = packet.readerIndex
        let icmp = start + Int(first & 15) * 4
        return packet.getInteger(at: start + 12, as: UInt32.self) == destination.value
            && packet.getInteger(at: icmp, as: UInt8.self) == 0
            && packet.getInteger(at: icmp + 4, as: UInt16.self) == identifier
            && packet.getInteger(at: icmp + 6, as: UInt16.self) == sequence
    }
}
