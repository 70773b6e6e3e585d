import Addresses
import LoadBalancing

/// Fragments of a datagram (RFC 791 section 3.2). All go to the real server of the first fragment, and stay fragments.
extension Fixture {
    private static let more: UInt16 = 0x2000

    /// Returns the first fragment of a datagram to port 80.
    private static func first(
        to vip: IPv4Address = Standard.main, port: UInt16 = 80, id: UInt16 = 7, flags: UInt16 = more
    ) -> PacketBuilder {
        .ethernet().fromClient(to: vip) { ($0.fragment, $0.id) = (flags, id) }.udp(to: port).payload(1392)
    }

    private static func later(
        to vip: IPv4Address = Standard.main, id: UInt16 = 7, offset: UInt16 = 175, flags: UInt16 = 0,
        protocolNumber: UInt8 = 17
    ) -> PacketBuilder {
        .ethernet()
            .fromClient(to: vip) { ($0.fragment, $0.id, $0.protocolNumber) = (flags | offset, id, protocolNumber) }
            .payload(600)
    }

    static let fragments: [Fixture] = [
        .forwarded("the first fragment of a datagram", first(), by: Standard.datagrams),
        .forwarded("the last fragment", after: [first()], later(), by: Standard.datagrams),
        .forwarded("a middle fragment", after: [first()], later(flags: more), by: Standard.datagrams),
        .forwarded("a fragment with DF", after: [first()], later(flags: 0x4000), by: Standard.datagrams),
        .forwarded(
            "a fragment of an any-port service", after: [first(port: 53, id: 8)], later(id: 8), by: Standard.anyPort),
        .forwarded(
            "a first fragment of TCP",
            .ethernet().fromClient(to: Standard.main) { ($0.fragment, $0.id) = (more, 9) }.tcp([.syn]).payload(1380),
            by: Standard.web),
        .forwarded(
            "a later fragment of TCP",
            after: [
                .ethernet().fromClient(to: Standard.main) { ($0.fragment, $0.id) = (more, 9) }.tcp([.syn]).payload(1380)
            ], later(id: 9, protocolNumber: 6), by: Standard.web),
        .dropped("a fragment before the first one", later(id: 10), "dropped-fragment-without-first"),
        .dropped(
            "a fragment of another datagram", after: [first(id: 11)], later(id: 12), "dropped-fragment-without-first"),
        .dropped(
            "a fragment of another protocol", after: [first(id: 13)], later(id: 13, protocolNumber: 6),
            "dropped-fragment-without-first"),
        .dropped(
            "a fragment to another VIP", after: [first(id: 14)], later(to: Standard.strict, id: 14),
            "dropped-fragment-without-first"),
        .dropped(
            "a first fragment without the ports",
            .ethernet().fromClient(to: Standard.main) { ($0.fragment, $0.id, $0.protocolNumber) = (more, 15, 17) }
                .payload(7), "dropped-truncated"),
        .passed("a first fragment to a port without service", first(to: Standard.strict, id: 16), "passed-no-service"),
        .passed(
            "what follows it", after: [first(to: Standard.strict, id: 17)], later(to: Standard.strict, id: 17),
            "passed-no-service"),
        .passed(
            "the first fragment of an echo request",
            .ethernet().fromClient(to: Standard.main) { $0.fragment = more }.icmp(type: 8).payload(1400),
            "passed-icmp-other"),
        .passed("a later fragment of an echo request", later(id: 18, protocolNumber: 1), "passed-icmp-other"),
        .passed(
            "a fragment of an unknown protocol", later(id: 19, protocolNumber: 132), "passed-unknown-protocol"),
    ]
}
