import LoadBalancing

/// Packets that leave with VLAN tags, and packets whose real server is the director itself.
extension Fixture {
    static let forwardedOtherwise: [Fixture] = tagged + local

    private static let tagged: [Fixture] = [
        .forwarded("out with a tag", .syn(to: Standard.tagged), by: Standard.viaTag),
        .forwarded("out with two tags", .syn(to: Standard.doublyTagged), by: Standard.viaTwoTags),
        .forwarded(
            "in with a tag, out with another", .ethernet().vlan(5).fromClient(to: Standard.tagged).tcp([.syn]),
            by: Standard.viaTag),
        .forwarded(
            "in with a tag, out with two", .ethernet().vlan(5).fromClient(to: Standard.doublyTagged).udp().payload(77),
            by: Standard.viaTwoTags),
        .forwarded(
            "in with two tags, out with one",
            .ethernet().vlan(5, tag: 0x88A8).vlan(6).fromClient(to: Standard.tagged).udp().payload(3),
            by: Standard.viaTag),
        .forwarded(
            "in with two tags, out with two",
            .ethernet().vlan(5, tag: 0x88A8).vlan(6).fromClient(to: Standard.doublyTagged) {
                $0.options = PacketBuilder.fullOptions
            }.tcp([.syn]), by: Standard.viaTwoTags),
        .forwarded(
            "data of a connection, out with a tag", after: [.syn(to: Standard.tagged)],
            .ethernet().fromClient(to: Standard.tagged).tcp([.ack, .psh]).payload(1001), by: Standard.viaTag),
        .forwarded("out with a tag by XDP_TX", .syn(to: Standard.taggedTransmitting), by: Standard.viaTagTransmit),
        .forwarded(
            "without DF, out with two tags",
            .ethernet().fromClient(to: Standard.doublyTagged) { ($0.fragment, $0.tos) = (0, 0xBB) }.udp().payload(9),
            by: Standard.viaTwoTags),
        .forwarded(
            "padded, out with a tag", PacketBuilder.syn(to: Standard.tagged).padded(), by: Standard.viaTag),
        .forwarded(
            "the longest packet, out with two tags",
            .ethernet().fromClient(to: Standard.doublyTagged).udp().payload(1452), by: Standard.viaTwoTags),
        tooBig("for a tagged way by a byte", .ethernet(), 953),
        tooBig("for a tagged way, in a tag", .ethernet().vlan(12), 1200),
    ]

    private static let local: [Fixture] = [
        .delivered("a SYN for the director itself", .syn(to: Standard.local)),
        .delivered("a datagram for the director itself", .datagram(to: Standard.local)),
        .delivered(
            "data for the director itself", after: [.syn(to: Standard.local)],
            .ethernet().fromClient(to: Standard.local).tcp([.ack, .psh]).payload(1000)),
        .delivered(
            "a tagged packet for the director itself", .ethernet().vlan(9).fromClient(to: Standard.local).tcp([.syn])),
        .delivered(
            "a packet for the director itself that would not fit a tunnel",
            .ethernet().fromClient(to: Standard.local).udp().payload(1472)),
        .delivered(
            "an ICMP error about a reply of the director itself", after: [.syn(to: Standard.local)],
            PacketBuilder.ethernet().ipv4(from: address("203.0.113.99"), to: Standard.local)
                .icmp(type: 3, code: 4, word: 1400).payload(
                    PacketBuilder.ethernet().ipv4(from: Standard.local, to: Standard.client)
                        .tcp(from: 80, to: Standard.clientPort, [.ack]).ipPacket), and: "icmp-error-relayed"),
        .dropped(
            "a merged frame for the director itself",
            .ethernet().fromClient(to: Standard.local).udp().payload(1473), "dropped-merged-frame"),
    ]

    private static func tooBig(_ description: String, _ frame: PacketBuilder, _ length: Int) -> Fixture {
        let packet = frame.fromClient(to: Standard.taggedTransmitting).udp().payload(length)
        return .answered(
            "too big \(description)", packet,
            with: packet.unreachable(from: Standard.taggedTransmitting, code: 4, mtu: 980), "answered-too-big")
    }
}
