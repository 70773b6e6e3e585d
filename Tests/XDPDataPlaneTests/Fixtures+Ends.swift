import Addresses
import LoadBalancing
import Netlink

let broadcast = { () -> MACAddress in
    guard let address = MACAddress([255, 255, 255, 255, 255, 255]) else { preconditionFailure("six bytes") }
    return address
}()

/// Packets that are not for the director, that pass to its own stack, or that are dropped.
extension Fixture {
    static let ignored: [Fixture] = [
        .ignored("ARP", PacketBuilder.ethernet(to: broadcast).etherType(0x0806).payload(28).padded()),
        .ignored("ARP in a tag", .ethernet().vlan(4).etherType(0x0806).payload(46)),
        .ignored("IPv6", .ethernet().etherType(0x86DD).payload([0x60] + [UInt8](repeating: 0, count: 59))),
        .ignored("LLDP", .ethernet().etherType(0x88CC).payload(100)),
        .ignored("802.3 length", .ethernet().etherType(46).payload(46)),
        .ignored("an address that the filter turns away", .syn(to: address("203.0.113.77"))),
        .ignored("an address that shares its bit of the filter with a VIP", .syn(to: colliding(with: Standard.main))),
        .ignored("a neighbour of a VIP", .syn(to: IPv4Address(Standard.main.value + 1))),
        .ignored("the broadcast address", .datagram(to: address("255.255.255.255"))),
        .ignored("a group", .datagram(to: address("224.0.0.18"))),
        .ignored("a VIP as source", .ethernet().ipv4(from: Standard.main, to: Standard.client).tcp([.syn])),
        .ignored(
            "three tags", .ethernet().vlan(1, tag: 0x88A8).vlan(2).vlan(3).fromClient(to: Standard.main).tcp([.syn])),
        .ignored("another host's frame", .ethernet(to: mac(9)).fromClient(to: Standard.main).tcp([.syn])),
        .ignored("a frame for all hosts", .ethernet(to: broadcast).fromClient(to: Standard.main).icmp(type: 8)),
        .ignored("IPv4 under another type", .ethernet().etherType(0x0801).fromClient(to: Standard.main).tcp([.syn])),
    ]

    static let passed: [Fixture] = [
        .passed("TCP on a port without service", .syn(to: Standard.strict, port: 81), "passed-no-service"),
        .passed("UDP on a TCP service's port", .datagram(to: Standard.strict), "passed-no-service"),
        .passed(
            "RST on a port without service", .ethernet().fromClient(to: Standard.strict).tcp([.rst], to: 81),
            "passed-no-service"),
        .passed(
            "a long packet on a port without service",
            .ethernet().fromClient(to: Standard.strict).udp().payload(1473), "passed-no-service"),
        .passed("SCTP", protocolPacket(132), "passed-unknown-protocol"),
        .passed("ESP", protocolPacket(50), "passed-unknown-protocol"),
        .passed("GRE", protocolPacket(47), "passed-unknown-protocol"),
        .passed("IPIP", protocolPacket(4), "passed-unknown-protocol"),
        .passed("protocol 255", protocolPacket(255), "passed-unknown-protocol"),
        .passed("an unknown protocol without payload", protocolPacket(99, length: 0), "passed-unknown-protocol"),
        .passed(
            "an unknown protocol, tagged",
            .ethernet().vlan(6).fromClient(to: Standard.main) { $0.protocolNumber = 132 }
                .payload(12), "passed-unknown-protocol"),
    ]

    static let bad: [Fixture] = [
        .dropped("IP version 5", ip { $0.version = 5 }, "dropped-bad-header"),
        .dropped("IP version 6 under IPv4's type", ip { $0.version = 6 }, "dropped-bad-header"),
        .dropped("an IP header of 0 words", ip { $0.words = 0 }, "dropped-bad-header"),
        .dropped("an IP header of 4 words", ip { $0.words = 4 }, "dropped-bad-header"),
        .dropped("an IP header beyond the frame", ip { ($0.words, $0.totalLength) = (15, 60) }, "dropped-truncated"),
        .dropped("total length 0", ip { $0.totalLength = 0 }, "dropped-bad-header"),
        .dropped("total length 19", ip { $0.totalLength = 19 }, "dropped-bad-header"),
        .dropped(
            "total length within the options",
            ip { ($0.options, $0.totalLength) = (PacketBuilder.routerAlert, 23) }, "dropped-bad-header"),
        .dropped("total length beyond the frame by a byte", ip { $0.totalLength = 41 }, "dropped-truncated"),
        .dropped("total length 65535", ip { $0.totalLength = 65535 }, "dropped-truncated"),
        .dropped(
            "a TCP header of 4 words", .ethernet().fromClient(to: Standard.main).tcp([.syn]) { $0.words = 4 },
            "dropped-bad-header"),
        .dropped(
            "a TCP header of 0 words", .ethernet().fromClient(to: Standard.main).tcp([.syn]) { $0.words = 0 },
            "dropped-bad-header"),
        .dropped(
            "TCP options beyond the packet", .ethernet().fromClient(to: Standard.main).tcp([.syn]) { $0.words = 6 },
            "dropped-bad-header"),
        .dropped(
            "TCP options beyond the packet, within the padding",
            .ethernet().fromClient(to: Standard.main).tcp([.syn]) { $0.words = 6 }.padded(to: 80), "dropped-bad-header"),
        .dropped("a source of this network", ip { $0.source = address("0.0.0.7") }, "dropped-martian-source"),
        .dropped("a loopback source", ip { $0.source = address("127.0.0.1") }, "dropped-martian-source"),
        .dropped("a group as source", ip { $0.source = address("224.0.0.5") }, "dropped-martian-source"),
        .dropped("all hosts as source", ip { $0.source = address("255.255.255.255") }, "dropped-martian-source"),
        .dropped("the VIP as source", ip { $0.source = Standard.main }, "dropped-martian-source"),
        .dropped(
            "a SYN from another VIP", ip { $0.source = Standard.strict }, "dropped-martian-source"),
        .dropped(
            "a datagram from another VIP, as two UDP services would answer each other for ever",
            .ethernet().ipv4(from: Standard.narrow, to: Standard.main).udp(from: 80, to: 80), "dropped-martian-source"),
        .dropped(
            "an ACK from another VIP", .ethernet().ipv4(from: Standard.strict, to: Standard.main).tcp([.ack]),
            "dropped-martian-source"),
        .dropped(
            "a first fragment from another VIP",
            .ethernet().ipv4(from: Standard.strict, to: Standard.main) { $0.fragment = PacketBuilder.moreFragments }
                .udp().payload(8), "dropped-martian-source"),
        .dropped(
            "an echo request from another VIP",
            .ethernet().ipv4(from: Standard.strict, to: Standard.main).icmp(type: 8), "dropped-martian-source"),
        .dropped(
            "an echo request from the VIP", .ethernet().ipv4(from: Standard.main, to: Standard.main).icmp(type: 8),
            "dropped-martian-source"),
        .dropped(
            "data from a group", .ethernet().ipv4(from: address("239.1.2.3"), to: Standard.main).tcp([.ack]).payload(9),
            "dropped-martian-source"),
        .dropped(
            "a merged frame", .ethernet().fromClient(to: Standard.main).udp().payload(1473), "dropped-merged-frame"),
        .dropped(
            "a large merged frame", .ethernet().fromClient(to: Standard.main).tcp([.ack]).payload(2960),
            "dropped-merged-frame"),
        .dropped(
            "a merged frame without DF",
            .ethernet().fromClient(to: Standard.main) { $0.fragment = 0 }.udp().payload(1473),
            "dropped-merged-frame"),
        .dropped(
            "a byte too big without DF",
            .ethernet().fromClient(to: Standard.main) { $0.fragment = 0 }.udp().payload(1453),
            "dropped-too-big-without-df"),
        .dropped(
            "too big for a narrow path without DF",
            .ethernet().fromClient(to: Standard.narrow) { $0.fragment = 0 }.tcp([.syn]).payload(941),
            "dropped-too-big-without-df"),
        .dropped("a next hop that does not answer", .syn(to: Standard.unresolved), "dropped-no-next-hop"),
        .dropped("a next hop that does not answer, by UDP", .datagram(to: Standard.unresolved), "dropped-no-next-hop"),
        .dropped("a real server without route", .syn(to: Standard.unrouted), "dropped-no-next-hop"),
        .dropped(
            "too big for a path that is not known",
            .ethernet().fromClient(to: Standard.unresolved).udp().payload(1472), "dropped-no-next-hop"),
        .dropped(
            "an RST without connection", .ethernet().fromClient(to: Standard.main).tcp([.rst]),
            "dropped-reset-without-connection"),
        .dropped(
            "an RST and ACK without connection", .ethernet().fromClient(to: Standard.main).tcp([.rst, .ack]),
            "dropped-reset-without-connection"),
        .dropped(
            "an RST and SYN without connection", .ethernet().fromClient(to: Standard.main).tcp([.rst, .syn]),
            "dropped-reset-without-connection"),
        .dropped(
            "an RST to an any-port service", .ethernet().fromClient(to: Standard.main).tcp([.rst], to: 81),
            "dropped-reset-without-connection"),
    ]

    private static func ip(_ adjust: (inout PacketBuilder.IPv4Header) -> Void) -> PacketBuilder {
        .ethernet().fromClient(to: Standard.main, adjust).tcp([.syn])
    }

    private static func protocolPacket(_ number: UInt8, length: Int = 40) -> PacketBuilder {
        .ethernet().fromClient(to: Standard.main) { $0.protocolNumber = number }.payload(length)
    }

    /// Returns another address that has the same bit of the VIP filter as this VIP.
    static func colliding(with vip: IPv4Address) -> IPv4Address {
        func bit(_ address: IPv4Address) -> UInt32 { (address.bigEndian &* 0x9E37_79B1) >> 16 }
        let other = (1..<(1 << 22)).lazy.map { IPv4Address(0x0B00_0000 + $0) }.first { bit($0) == bit(vip) }
        return other ?? vip
    }
}
