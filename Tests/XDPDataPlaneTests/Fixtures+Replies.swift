import Addresses
import LoadBalancing

/// Packets that the packet program answers itself.
extension PacketBuilder {
    /// Returns the reset that answers this packet without a connection (RFC 9293 section 3.5.2).
    func reset(from vip: IPv4Address, port: UInt16 = 80, sequence: UInt32 = 0, acknowledging: UInt32? = nil)
        -> PacketBuilder
    {
        wayBack.ipv4(from: vip, to: Standard.client) { ($0.id, $0.ttl) = (0, 64) }
            .tcp(from: port, to: Standard.clientPort, acknowledging == nil ? [.rst] : [.rst, .ack]) {
                ($0.sequence, $0.acknowledgement) = (sequence, acknowledging ?? 0)
            }
    }

    /// Returns the ICMP "destination unreachable" from the VIP about this packet.
    func unreachable(from vip: IPv4Address, code: UInt8, mtu: UInt32 = 0, tos: UInt8 = 0) -> PacketBuilder {
        let header = Int(ipPacket[0] & 15) * 4
        return wayBack.ipv4(from: vip, to: Standard.client) { ($0.id, $0.ttl, $0.tos) = (0, 64, tos) }
            .icmp(type: 3, code: code, word: mtu).payload(Array(ipPacket.prefix(header + 8)))
    }
}

extension Fixture {
    static let reset: [Fixture] = [
        noConnection("an ACK", from(Standard.main, [.ack], ack: 0x8000_0001), sequence: 0x8000_0001),
        noConnection(
            "an ACK with data, padded", from(Standard.main, [.ack, .psh], ack: 5).payload(3).padded(), sequence: 5),
        noConnection("a FIN and ACK", from(Standard.main, [.fin, .ack], ack: 6), sequence: 6),
        noConnection("a SYN and ACK", from(Standard.main, [.syn, .ack], ack: 7), sequence: 7),
        noConnection("no flags", from(Standard.main, [], ack: 8), acknowledging: 0x0102_0304),
        noConnection("no flags but data", from(Standard.main, [.psh], ack: 8).payload(100), acknowledging: 0x0102_0368),
        noConnection("a FIN", from(Standard.main, [.fin], ack: 9), acknowledging: 0x0102_0305),
        noConnection("a FIN with data", from(Standard.main, [.fin], ack: 9).payload(11), acknowledging: 0x0102_0310),
        noConnection(
            "a FIN at the end of the sequence space",
            .ethernet().fromClient(to: Standard.main).tcp([.fin]) { $0.sequence = .max }.payload(1), acknowledging: 1),
        noConnection(
            "an ACK with options",
            .ethernet().fromClient(to: Standard.main) { $0.options = PacketBuilder.fullOptions }
                .tcp([.ack]) { ($0.options, $0.acknowledgement) = (PacketBuilder.synOptions, 10) }, sequence: 10),
        noConnection(
            "a FIN with options",
            .ethernet().fromClient(to: Standard.main) { $0.options = PacketBuilder.routerAlert }
                .tcp([.fin]) { $0.options = PacketBuilder.synOptions }.payload(2), acknowledging: 0x0102_0307),
        noConnection(
            "an ACK in a tag",
            .ethernet().vlan(100).fromClient(to: Standard.main).tcp([.ack]) { $0.acknowledgement = 1 },
            sequence: 1),
        noConnection(
            "an ACK in two tags",
            .ethernet().vlan(7, tag: 0x88A8).vlan(100).fromClient(to: Standard.main).tcp([.ack]) {
                $0.acknowledgement = 2
            },
            sequence: 2),
        noConnection(
            "an ACK with DSCP and without DF",
            .ethernet().fromClient(to: Standard.main) { ($0.tos, $0.fragment) = (0xB9, 0) }
                .tcp([.ack]) { $0.acknowledgement = 2 }, sequence: 2),
        noConnection(
            "an ACK to an any-port service",
            .ethernet().fromClient(to: Standard.main).tcp([.ack], to: 81) { $0.acknowledgement = 3 }, port: 81,
            sequence: 3),
        .answered(
            "an ACK without connection and without real servers", from(Standard.quiesced, [.ack], ack: 4),
            with: from(Standard.quiesced, [.ack], ack: 4).reset(from: Standard.quiesced, sequence: 4),
            "answered-no-connection"),
        .answered(
            "an ACK on another port than the connection's", after: [.syn(to: Standard.main, port: 81)],
            .ethernet().fromClient(to: Standard.main).tcp([.ack], to: 82) { $0.acknowledgement = 3 },
            with: PacketBuilder.syn(to: Standard.main).reset(from: Standard.main, port: 82, sequence: 3),
            "answered-no-connection"),
        .answered(
            "an ACK beside a UDP flow with equal ports", after: [.datagram(to: Standard.main, port: 81)],
            .ethernet().fromClient(to: Standard.main).tcp([.ack], to: 81) { $0.acknowledgement = 3 },
            with: PacketBuilder.syn(to: Standard.main).reset(from: Standard.main, port: 81, sequence: 3),
            "answered-no-connection"),
        noServer("a SYN", .syn(to: Standard.empty), Standard.empty),
        noServer("a datagram", .datagram(to: Standard.empty, port: 53), Standard.empty),
        noServer("a datagram without data", .ethernet().fromClient(to: Standard.empty).udp(), Standard.empty),
        noServer("a padded SYN", PacketBuilder.syn(to: Standard.empty).padded(), Standard.empty),
        noServer("weights of 0", .syn(to: Standard.quiesced), Standard.quiesced),
        noServer("the only server down", .syn(to: Standard.down), Standard.down),
        noServer("a tagged SYN", .ethernet().vlan(4095).fromClient(to: Standard.empty).tcp([.syn]), Standard.empty),
        noServer(
            "QinQ", .ethernet().vlan(7, tag: 0x88A8).vlan(100).fromClient(to: Standard.empty).udp().payload(1000),
            Standard.empty),
        noServer(
            "IP options",
            .ethernet().fromClient(to: Standard.empty) { $0.options = PacketBuilder.fullOptions }.tcp([.syn]),
            Standard.empty),
        noServer(
            "one IP option in a tag",
            .ethernet().vlan(1).fromClient(to: Standard.empty) { $0.options = PacketBuilder.routerAlert }.udp().payload(
                3),
            Standard.empty),
        noServer(
            "a class of service", .ethernet().fromClient(to: Standard.empty) { $0.tos = 0xBB }.udp(), Standard.empty,
            tos: 0xB8),
        tooBig("by a byte", .ethernet().fromClient(to: Standard.main).udp().payload(1453), Standard.main, mtu: 1480),
        tooBig(
            "by all that can be", .ethernet().fromClient(to: Standard.main).udp().payload(1472), Standard.main,
            mtu: 1480),
        tooBig(
            "for a narrow path", .ethernet().fromClient(to: Standard.narrow).tcp([.syn]).payload(941), Standard.narrow,
            mtu: 980),
        tooBig(
            "in a tag", .ethernet().vlan(12).fromClient(to: Standard.narrow).tcp([.syn]).payload(1000), Standard.narrow,
            mtu: 980),
        tooBig(
            "in two tags with options",
            .ethernet().vlan(7, tag: 0x88A8).vlan(12).fromClient(to: Standard.narrow) {
                $0.options = PacketBuilder.fullOptions
            }
            .udp().payload(1000), Standard.narrow, mtu: 980),
        .answered(
            "too big in a connection", after: [.syn(to: Standard.main)],
            from(Standard.main, [.ack], ack: 1).payload(1441),
            with: from(Standard.main, [.ack], ack: 1).payload(1441).unreachable(
                from: Standard.main, code: 4, mtu: 1480),
            "answered-too-big"),
    ]

    static let echoes: [Fixture] =
        [0, 1, 2, 55, 56, 57, 1471, 1472].map { echo("of \($0) bytes", .ethernet(), payload: $0) }
        + [
            echo("of no service's port", .ethernet(), vip: Standard.strict, payload: 10),
            echo("with real servers gone", .ethernet(), vip: Standard.empty, payload: 10),
            echo("in a tag", .ethernet().vlan(100), payload: 33),
            echo("in two tags", .ethernet().vlan(7, tag: 0x88A8).vlan(100), payload: 34),
            echo("with options", .ethernet(), payload: 21) { $0.options = PacketBuilder.fullOptions },
            echo("with TTL 1", .ethernet(), payload: 8) { $0.ttl = 1 },
            echo("with TTL 64", .ethernet(), payload: 8) { $0.ttl = 64 },
            echo("with TTL 255", .ethernet(), payload: 8) { $0.ttl = 255 },
            echo("with class and identifier, without DF", .ethernet(), payload: 8) {
                ($0.tos, $0.fragment, $0.id) = (0x2E, 0, 0xFFFF)
            },
        ]
        // Echo requests with each checksum that one's complement arithmetic may get wrong.
        + [0x0000, 0xF7FF, 0xF7FE, 0xF800, 0xFFFF].map { (sequence: UInt32) in
            echo("with word \(String(sequence, radix: 16))", .ethernet(), payload: 0, word: sequence)
        }

    private static func from(_ vip: IPv4Address, _ flags: PacketBuilder.TCPFlags, ack: UInt32) -> PacketBuilder {
        .ethernet().fromClient(to: vip).tcp(flags) { $0.acknowledgement = ack }
    }

    private static func noConnection(
        _ description: String, _ packet: PacketBuilder, port: UInt16 = 80, sequence: UInt32 = 0,
        acknowledging: UInt32? = nil
    ) -> Fixture {
        .answered(
            "without connection: \(description)", packet,
            with: packet.reset(from: Standard.main, port: port, sequence: sequence, acknowledging: acknowledging),
            "answered-no-connection")
    }

    private static func noServer(
        _ description: String, _ packet: PacketBuilder, _ vip: IPv4Address, tos: UInt8 = 0
    ) -> Fixture {
        .answered(
            "no server: \(description)", packet, with: packet.unreachable(from: vip, code: 3, tos: tos),
            "answered-no-server")
    }

    private static func tooBig(
        _ description: String, _ packet: PacketBuilder, _ vip: IPv4Address, mtu: UInt32
    ) -> Fixture {
        .answered(
            "too big: \(description)", packet, with: packet.unreachable(from: vip, code: 4, mtu: mtu),
            "answered-too-big")
    }

    private static func echo(
        _ description: String, _ frame: PacketBuilder, vip: IPv4Address = Standard.main, payload: Int,
        word: UInt32 = 0x1234_0001, _ adjust: (inout PacketBuilder.IPv4Header) -> Void = { _ in }
    ) -> Fixture {
        let request = frame.fromClient(to: vip, adjust).icmp(type: 8, word: word).payload(payload)
        let reply = request.wayBack.ipv4(from: vip, to: Standard.client) {
            adjust(&$0)
            $0.ttl = 64
        }
        .icmp(type: 0, word: word).payload(payload)
        return .answered("echo \(description)", request, with: reply, "answered-echo")
    }
}
