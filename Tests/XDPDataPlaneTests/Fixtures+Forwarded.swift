import Addresses
import LoadBalancing

/// The layers of packets from the fixtures' client.
extension PacketBuilder {
    /// Adds an IPv4 header with the fixtures' client as its source.
    func fromClient(to vip: IPv4Address, _ adjust: (inout IPv4Header) -> Void = { _ in }) -> PacketBuilder {
        ipv4(from: Standard.client, to: vip, adjust)
    }

    func tcp(
        _ flags: TCPFlags, to port: UInt16 = 80, _ adjust: (inout TCPHeader) -> Void = { _ in }
    ) -> PacketBuilder {
        tcp(from: Standard.clientPort, to: port, flags, adjust)
    }

    func udp(to port: UInt16 = 80) -> PacketBuilder { udp(from: Standard.clientPort, to: port) }

    static func syn(to vip: IPv4Address, port: UInt16 = 80) -> PacketBuilder {
        ethernet().fromClient(to: vip).tcp([.syn], to: port)
    }

    static func datagram(to vip: IPv4Address, port: UInt16 = 80) -> PacketBuilder {
        ethernet().fromClient(to: vip).udp(to: port).payload(18)
    }

    /// TCP options: MSS, SACK permitted, timestamps, window scale.
    static let synOptions: [UInt8] = [2, 4, 5, 0xB4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]
    /// An IP option: router alert (RFC 2113).
    static let routerAlert: [UInt8] = [0x94, 4, 0, 0]
    /// The largest possible options of a header: 40 bytes.
    static let fullOptions: [UInt8] = [UInt8](repeating: 1, count: 39) + [0]
}

extension Fixture {
    static let forwarded: [Fixture] =
        [
            .forwarded("SYN", .syn(to: Standard.main), by: Standard.web),
            .forwarded(
                "SYN with options",
                .ethernet().fromClient(to: Standard.main).tcp([.syn]) { $0.options = PacketBuilder.synOptions },
                by: Standard.web),
            .forwarded(
                "SYN with ECE and CWR",
                .ethernet().fromClient(to: Standard.main).tcp(PacketBuilder.TCPFlags(rawValue: 0xC2)), by: Standard.web),
            .forwarded(
                "SYN with data", .ethernet().fromClient(to: Standard.main).tcp([.syn]).payload(100), by: Standard.web),
            .forwarded(
                "ACK of a connection", after: [.syn(to: Standard.main)],
                .ethernet().fromClient(to: Standard.main).tcp([.ack]) { $0.acknowledgement = 77 }, by: Standard.web),
            .forwarded(
                "data of a connection", after: [.syn(to: Standard.main)],
                .ethernet().fromClient(to: Standard.main).tcp([.ack, .psh]).payload(1001), by: Standard.web),
            .forwarded(
                "FIN of a connection", after: [.syn(to: Standard.main)],
                .ethernet().fromClient(to: Standard.main).tcp([.fin, .ack]), by: Standard.web),
            .forwarded(
                "RST of a connection", after: [.syn(to: Standard.main)],
                .ethernet().fromClient(to: Standard.main).tcp([.rst]), by: Standard.web),
            .forwarded(
                "SYN and ACK of a connection", after: [.syn(to: Standard.main)],
                .ethernet().fromClient(to: Standard.main).tcp([.syn, .ack]), by: Standard.web),
            .forwarded(
                "a repeated SYN", after: [.syn(to: Standard.main)], .syn(to: Standard.main), by: Standard.web),
            .forwarded("UDP on the port of a TCP service", .datagram(to: Standard.main), by: Standard.datagrams),
            .forwarded(
                "UDP without data", .ethernet().fromClient(to: Standard.main).udp(), by: Standard.datagrams),
            .forwarded(
                "UDP on the port of an open TCP connection", after: [.syn(to: Standard.main)],
                .datagram(to: Standard.main), by: Standard.datagrams),
            .forwarded("TCP on a port without a service", .syn(to: Standard.main, port: 81), by: Standard.anyPort),
            .forwarded("TCP on port 65535", .syn(to: Standard.main, port: 65535), by: Standard.anyPort),
            .forwarded("TCP on port 0", .syn(to: Standard.main, port: 0), by: Standard.anyPort),
            .forwarded("UDP on a port without a service", .datagram(to: Standard.main, port: 53), by: Standard.anyPort),
            .forwarded(
                "any-port UDP beside TCP with equal ports", after: [.syn(to: Standard.main, port: 443)],
                .datagram(to: Standard.main, port: 443), by: Standard.anyPort),
            .forwarded(
                "an identifier without DF",
                .ethernet().fromClient(to: Standard.main) { $0.fragment = 0 }.tcp([.syn]), by: Standard.web),
            .forwarded(
                "identifier 0 without DF",
                .ethernet().fromClient(to: Standard.main) { ($0.fragment, $0.id) = (0, 0) }.tcp([.syn]),
                by: Standard.web),
            .forwarded(
                "the reserved flag",
                .ethernet().fromClient(to: Standard.main) { $0.fragment = 0xC000 }.tcp([.syn]), by: Standard.web),
            .forwarded("a padded frame", PacketBuilder.syn(to: Standard.main).padded(), by: Standard.web),
            .forwarded(
                "a padded tagged frame",
                PacketBuilder.ethernet().vlan(7).fromClient(to: Standard.main).udp().payload(1).padded(to: 64),
                by: Standard.datagrams),
            .forwarded(
                "an IP option",
                .ethernet().fromClient(to: Standard.main) { $0.options = PacketBuilder.routerAlert }.tcp([.syn]),
                by: Standard.web),
            .forwarded(
                "40 bytes of IP options",
                .ethernet().fromClient(to: Standard.main) { $0.options = PacketBuilder.fullOptions }.udp().payload(5),
                by: Standard.datagrams),
            .forwarded(
                "a tag", .ethernet().vlan(100).fromClient(to: Standard.main).tcp([.syn]), by: Standard.web),
            .forwarded(
                "a priority tag", .ethernet().vlan(0xE000).fromClient(to: Standard.main).tcp([.syn]), by: Standard.web),
            .forwarded(
                "a service tag", .ethernet().vlan(5, tag: 0x88A8).fromClient(to: Standard.main).tcp([.syn]),
                by: Standard.web),
            .forwarded(
                "QinQ", .ethernet().vlan(5, tag: 0x88A8).vlan(100).fromClient(to: Standard.main).tcp([.syn]),
                by: Standard.web),
            .forwarded(
                "two 802.1Q tags and options",
                .ethernet().vlan(5).vlan(100).fromClient(to: Standard.main) { $0.options = PacketBuilder.routerAlert }
                    .tcp([.syn]) { $0.options = PacketBuilder.synOptions }, by: Standard.web),
            .forwarded(
                "a source of 240/4",
                .ethernet().ipv4(from: address("240.10.0.1"), to: Standard.main).tcp([.syn]), by: Standard.web),
            .forwarded("by XDP_TX", .syn(to: Standard.transmitting), by: Standard.viaTransmit),
            .forwarded(
                "a tagged frame by XDP_TX", .ethernet().vlan(9).fromClient(to: Standard.transmitting).udp().payload(9),
                by: Standard.viaTransmit),
            .forwarded("by Maglev", .syn(to: Standard.hashed), by: Standard.byHash),
            .forwarded(
                "an ACK without connection by Maglev",
                .ethernet().fromClient(to: Standard.hashed).tcp([.ack]), by: Standard.byHash,
                and: "rederived-without-connection"),
            .forwarded(
                "an RST without connection by Maglev",
                .ethernet().fromClient(to: Standard.hashed).tcp([.rst]), by: Standard.byHash,
                and: "rederived-without-connection"),
            .forwarded(
                "the longest packet that fits with DF", .ethernet().fromClient(to: Standard.main).udp().payload(1452),
                by: Standard.datagrams),
            .forwarded(
                "the longest packet that fits without DF",
                .ethernet().fromClient(to: Standard.main) { $0.fragment = 0 }.udp().payload(1452),
                by: Standard.datagrams),
            .forwarded(
                "the longest packet of a narrow path",
                .ethernet().fromClient(to: Standard.narrow).tcp([.syn]).payload(940), by: Standard.viaNarrow),
            .forwarded(
                "the longest packet in a tagged frame",
                .ethernet().vlan(3).vlan(4).fromClient(to: Standard.main).udp().payload(1452), by: Standard.datagrams),
        ] + ttls + classes

    private static let ttls: [Fixture] = [0, 1, 2, 64, 255].map { (ttl: UInt8) in
        .forwarded(
            "TTL \(ttl)", .ethernet().fromClient(to: Standard.main) { $0.ttl = ttl }.tcp([.syn]), by: Standard.web)
    }

    private static let classes: [Fixture] = [0, 8, 46, 63].flatMap { (dscp: UInt8) in
        (0..<4).map { (ecn: UInt8) in
            .forwarded(
                "DSCP \(dscp), ECN \(ecn)",
                .ethernet().fromClient(to: Standard.main) { $0.tos = dscp << 2 | ecn }.tcp([.syn]), by: Standard.web)
        }
    }
}
