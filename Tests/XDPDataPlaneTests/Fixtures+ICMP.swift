import Addresses
import LoadBalancing

/// ICMP errors about replies. Each error quotes a real server's packet from the VIP to the client.
extension Fixture {
    private static let router = address("192.0.2.254")
    private static let tcpReply = quoted { $0.tcp(from: 80, to: Standard.clientPort, [.ack]).payload(100) }
    private static let udpReply = quoted { $0.udp(from: 80, to: Standard.clientPort).payload(100) }
    private static let connection: [PacketBuilder] = [.syn(to: Standard.main)]
    private static let datagram: [PacketBuilder] = [.datagram(to: Standard.main)]
    private static let relayed = "icmp-error-relayed"

    static let icmp: [Fixture] = [
        .forwarded(
            "fragmentation needed, of a connection", after: connection, error(code: 4, word: 1400, quoting: tcpReply),
            by: Standard.web, and: relayed),
        .forwarded(
            "fragmentation needed, 8 bytes quoted", after: connection,
            error(code: 4, word: 1400, quoting: tcpReply.prefix(28)), by: Standard.web, and: relayed),
        .forwarded(
            "fragmentation needed, of UDP", after: datagram, error(code: 4, word: 1300, quoting: udpReply),
            by: Standard.datagrams, and: relayed),
        .forwarded(
            "port unreachable, of UDP with 8 bytes quoted", after: datagram,
            error(code: 3, quoting: udpReply.prefix(28)),
            by: Standard.datagrams, and: relayed),
        .forwarded(
            "time exceeded", after: connection, error(type: 11, quoting: tcpReply), by: Standard.web, and: relayed),
        .forwarded(
            "parameter problem", after: connection, error(type: 12, quoting: tcpReply), by: Standard.web, and: relayed),
        .forwarded(
            "an error with quoted IP options", after: connection,
            error(
                code: 4,
                quoting: quoted({ $0.options = PacketBuilder.fullOptions }) {
                    $0.tcp(from: 80, to: Standard.clientPort, [.ack])
                }), by: Standard.web, and: relayed),
        .forwarded(
            "an error with IP options of its own", after: connection,
            error(code: 4, quoting: tcpReply) { $0.options = PacketBuilder.routerAlert }, by: Standard.web, and: relayed
        ),
        .forwarded(
            "an error in a tag", after: connection, error(.ethernet().vlan(100), code: 4, quoting: tcpReply),
            by: Standard.web, and: relayed),
        .forwarded(
            "an error in two tags", after: datagram,
            error(.ethernet().vlan(1, tag: 0x88A8).vlan(100), code: 4, quoting: udpReply), by: Standard.datagrams,
            and: relayed),
        .forwarded(
            "an error without DF", after: connection, error(code: 4, quoting: tcpReply) { $0.fragment = 0 },
            by: Standard.web, and: relayed),
        .forwarded(
            "an error of an any-port connection", after: [.syn(to: Standard.main, port: 81)],
            error(code: 4, quoting: quoted { $0.tcp(from: 81, to: Standard.clientPort, [.ack]) }), by: Standard.anyPort,
            and: relayed),
        .forwarded(
            "an error of any-port UDP", after: [.datagram(to: Standard.main, port: 53)],
            error(code: 3, quoting: quoted { $0.udp(from: 53, to: Standard.clientPort) }), by: Standard.anyPort,
            and: relayed),
        .forwarded(
            "an error without connection by Maglev",
            error(
                to: Standard.hashed, code: 4,
                quoting: quoted(from: Standard.hashed) { $0.tcp(from: 80, to: Standard.clientPort, [.ack]) }),
            by: Standard.byHash, and: relayed),
        .forwarded(
            "an error that quotes the first fragment", after: datagram,
            error(
                code: 4,
                quoting: quoted({ $0.fragment = 0x2000 }) { $0.udp(from: 80, to: Standard.clientPort).payload(100) }),
            by: Standard.datagrams, and: relayed),
        .dropped(
            "an error that quotes a later fragment", after: datagram,
            error(code: 4, quoting: quoted({ $0.fragment = 185 }) { $0.udp(from: 80, to: Standard.clientPort) }),
            "dropped-icmp-malformed"),
        .dropped(
            "an error without connection", error(code: 4, quoting: tcpReply), "dropped-icmp-without-connection"),
        .dropped(
            "an error of another client", after: connection,
            error(
                code: 4, quoting: quoted(to: address("192.0.2.8")) { $0.tcp(from: 80, to: Standard.clientPort, [.ack]) }
            ),
            "dropped-icmp-without-connection"),
        .dropped(
            "an error of another client port", after: connection,
            error(code: 4, quoting: quoted { $0.tcp(from: 80, to: 40001, [.ack]) }), "dropped-icmp-without-connection"),
        .dropped(
            "an error of UDP with the ports of a connection", after: connection, error(code: 4, quoting: udpReply),
            "dropped-icmp-without-connection"),
        .dropped(
            "a foreign quoted source", after: connection,
            error(
                code: 4,
                quoting: quoted(from: address("203.0.113.9")) { $0.tcp(from: 80, to: Standard.clientPort, [.ack]) }),
            "dropped-icmp-malformed"),
        .dropped(
            "another VIP as quoted source", after: connection,
            error(
                code: 4, quoting: quoted(from: Standard.strict) { $0.tcp(from: 80, to: Standard.clientPort, [.ack]) }),
            "dropped-icmp-malformed"),
        .dropped(
            "a quoted IPv6 packet", after: connection, error(code: 4, quoting: [0x60] + tcpReply.dropFirst()),
            "dropped-icmp-malformed"),
        .dropped(
            "a quoted header of 4 words", after: connection, error(code: 4, quoting: [0x44] + tcpReply.dropFirst()),
            "dropped-icmp-malformed"),
        .dropped(
            "a quoted header beyond the packet", after: connection,
            error(code: 4, quoting: [0x4F] + tcpReply.prefix(40).dropFirst()), "dropped-icmp-malformed"),
        .dropped(
            "ports in the padding only", after: connection,
            error(code: 4, quoting: tcpReply.prefix(20)).padded(to: 100), "dropped-icmp-malformed"),
        .dropped(
            "an error too big", after: [.syn(to: Standard.narrow)],
            error(
                to: Standard.narrow, code: 4,
                quoting: quoted(from: Standard.narrow) {
                    $0.tcp(from: 80, to: Standard.clientPort, [.ack]).payload(1000)
                }),
            "dropped-too-big-icmp-error", and: relayed),
        .dropped(
            "an error toward a next hop that does not answer", after: [.syn(to: Standard.unresolved)],
            error(
                to: Standard.unresolved, code: 4,
                quoting: quoted(from: Standard.unresolved) { $0.tcp(from: 80, to: Standard.clientPort, [.ack]) }),
            "dropped-no-next-hop", and: relayed),
        .passed(
            "an error on a port without service",
            error(
                to: Standard.strict, code: 3,
                quoting: quoted(from: Standard.strict) { $0.udp(from: 53, to: Standard.clientPort) }),
            "passed-no-service"),
        .passed(
            "an error that quotes an echo",
            error(code: 1, quoting: quoted { $0.icmp(type: 0).payload(20) }), "passed-icmp-other"),
        .passed("an echo reply", message(type: 0), "passed-icmp-other"),
        .passed("a redirect", message(type: 5), "passed-icmp-other"),
        .passed("a source quench", message(type: 4), "passed-icmp-other"),
        .passed("a timestamp request", message(type: 13), "passed-icmp-other"),
    ]

    /// Returns the IP packet of a reply from the VIP, as an ICMP error quotes it.
    private static func quoted(
        from vip: IPv4Address = Standard.main, to client: IPv4Address = Standard.client,
        _ adjust: (inout PacketBuilder.IPv4Header) -> Void = { _ in }, _ transport: (PacketBuilder) -> PacketBuilder
    ) -> [UInt8] {
        transport(PacketBuilder.ethernet().ipv4(from: vip, to: client, adjust)).ipPacket
    }

    private static func error(
        _ frame: PacketBuilder = .ethernet(), to vip: IPv4Address = Standard.main, type: UInt8 = 3, code: UInt8 = 0,
        word: UInt32 = 0, quoting quote: some Collection<UInt8>,
        _ adjust: (inout PacketBuilder.IPv4Header) -> Void = { _ in }
    ) -> PacketBuilder {
        frame.ipv4(from: router, to: vip, adjust).icmp(type: type, code: code, word: word).payload(Array(quote))
    }

    private static func message(type: UInt8) -> PacketBuilder {
        .ethernet().fromClient(to: Standard.main).icmp(type: type).payload(20)
    }
}
