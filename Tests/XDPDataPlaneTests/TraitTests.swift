import Addresses
import BPF
import DataPlane
import LoadBalancing
import Netlink
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// The packet program with the constants of other set-ups.
@MainActor
@Suite(.serialized, .needsRoot)
struct TraitTests {
    /// XDP_TX sends a packet out of its ingress interface, which need not lead to the real server.
    @Test("XDP_TX is only for packets that came in by the path's interface") func severalIngressInterfaces() throws {
        let lab = try Lab(Standard.configuration, traits: PacketTraits(hasSeveralIngress: true))
        let frame = PacketBuilder.syn(to: Standard.transmitting).bytes
        // The standard path leaves by lo, whose index is 1. A test run without a context comes in by lo, too.
        #expect(try lab.run(frame).verdict == .transmit)
        #expect(try lab.run(frame, ingress: 1).verdict == Verdict.transmit.rawValue)
        let row = try #require(lab.plane.pathTable.rows[Standard.server(7)])
        lab.plane.maps.nextHops[row].ifindex = 4711
        #expect(try lab.run(frame, ingress: 1).verdict != Verdict.transmit.rawValue)
    }

    @Test("frames for other hosts pass") func framesOfOtherHosts() throws {
        let lab = try Lab(Standard.configuration)
        let macs = (1...8 as ClosedRange<UInt8>).map { mac($0, 9) }
        lab.plane.setOwnMACs(macs)
        for destination in macs {
            let packet = PacketBuilder.ethernet(to: destination).fromClient(to: Standard.main).tcp([.syn])
            #expect(try lab.run(packet).verdict == .redirect)
            // Further packets of a connection take the fast path.
            let flow = FlowKey(client: Standard.client, clientPort: 5000, vip: Standard.main, port: 80)
            for flags in [[.syn], [.ack], [.ack]] as [PacketBuilder.TCPFlags] {
                #expect(try lab.run(flow.packet(flags, to: destination)).verdict == .redirect)
            }
        }
        let others =
            [mac(9, 9), mac(1, 8), broadcast, .zero] + macs.map { MACAddress([3] + $0.bytes.dropFirst()) ?? .zero }
        lab.plane.setOwnMACs(Array(macs.prefix(7)) + [mac(10, 9)])
        for destination in others + [macs[7]] { try expectPassed(destination, by: lab) }
        // Free places in the list of MAC addresses match no frame.
        lab.plane.setOwnMACs([macs[0]])
        for destination in [.zero, macs[1]] { try expectPassed(destination, by: lab) }
    }

    private func expectPassed(_ destination: MACAddress, by lab: Lab) throws {
        try expectPassed(PacketBuilder.ethernet(to: destination).fromClient(to: Standard.main).tcp([.syn]), by: lab)
    }

    private func expectPassed(_ packet: PacketBuilder, by lab: Lab) throws {
        let outcome = try lab.run(packet)
        #expect(outcome.verdict == .pass)
        #expect(outcome.moved.isEmpty)
        #expect(outcome.packet == packet.bytes)
    }

    /// All other frames with an unknown MAC may be for another host.
    @Test(
        "recorded connections survive a change of the MAC without a daemon", arguments: [TransportProtocol.tcp, .udp])
    func framesOfOtherHostsWithoutDaemon(transport: TransportProtocol) throws {
        let lab = try Lab(Standard.configuration)
        lab.stretchTimeouts()
        var known = FlowKey(
            client: Standard.client, clientPort: 5000, vip: Standard.main, port: 5353, transport: transport)
        let packets: [PacketBuilder.TCPFlags] = transport == .tcp ? [[.syn], [.ack], [.ack]] : [[], []]
        for flags in packets { #expect(try lab.run(known.packet(flags)).verdict == .redirect) }
        let data = PacketBuilder.TCPFlags.ack
        for age in [0, UInt32(IPVSD_ABSENT_TICKS) - 5] {
            lab.plane.maps.tableLoad[0].last_daemon_gc = try lab.plane.tick() - age
            try expectPassed(known.packet([data], to: mac(9)), by: lab)
        }
        lab.plane.maps.tableLoad[0].last_daemon_gc = try lab.plane.tick() - UInt32(IPVSD_ABSENT_TICKS)
        let server = try #require(try lab.flow(known)).server
        // A packet refreshes even an old stamp.
        try lab.age(known, by: 10_000)
        for payload in [0, 100] {
            let outcome = try lab.run(known.packet([data], payload: payload, to: mac(9)))
            #expect(outcome.verdict == .redirect)
            #expect(outcome.moved == ["received": 1, "forwarded": 1])
        }
        let stamp = UInt16(try #require(try lab.entries(of: known).first).pointee.value >> 48)
        #expect(try lab.now &- stamp < 5)
        // The same holds for frames with a tag.
        let tagged = PacketBuilder.ethernet(to: mac(9)).vlan(5).ipv4(from: known.client, to: known.vip)
        let packet =
            transport == .tcp
            ? tagged.tcp(from: 5000, to: 5353, [.ack]) : tagged.udp(from: 5000, to: 5353).payload(20)
        #expect(try lab.run(packet).verdict == .redirect)
        try expectPassed(known.packet([data], to: broadcast), by: lab)
        // This packet is too big for the path, and would be answered rather than forwarded.
        try expectPassed(known.packet([data], payload: 1459, to: mac(9)), by: lab)
        lab.plane.maps.servers[Int(server)].flags |= UInt16(IPVSD_SERVER_DOWN)
        try expectPassed(known.packet([data], to: mac(9)), by: lab)
        lab.plane.maps.servers[Int(server)].flags &= ~UInt16(IPVSD_SERVER_DOWN)
        // Datagrams leave a real server that was removed, and connections stay.
        lab.plane.maps.servers[Int(server)].flags |= UInt16(IPVSD_SERVER_REMOVED)
        if transport == .udp {
            try expectPassed(known.packet([], to: mac(9)), by: lab)
        } else {
            #expect(try lab.run(known.packet([.ack], to: mac(9))).verdict == .redirect)
        }
        lab.plane.maps.servers[Int(server)].flags &= ~UInt16(IPVSD_SERVER_REMOVED)
        if transport == .tcp {
            try expectPassed(known.packet([.syn], to: mac(9)), by: lab)
            #expect(try lab.run(known.packet([.fin, .ack], to: mac(9))).verdict == .redirect)
            #expect(try lab.flow(known)?.state == IPVSD_STATE_FIN_WAIT)
        }
        known.clientPort = 5001
        let first: [PacketBuilder.TCPFlags] = transport == .tcp ? [[.syn], [.ack], [.rst], [.fin, .ack]] : [[]]
        for flags in first { try expectPassed(known.packet(flags, payload: 8, to: mac(9)), by: lab) }
        #expect(try lab.flow(known) == nil)
        try expectPassed(
            PacketBuilder.ethernet(to: mac(9)).fromClient(to: Standard.main).icmp(type: 8), by: lab)
        try lab.expectBalance()
    }

    /// The VIP may be about to move to the macvlan, and the director's own stack must not answer for it.
    @Test("frames for a macvlan without a VIP are dropped") func framesForMacvlansWithoutAVIP() throws {
        let lab = try Lab(Standard.configuration)
        let idle = [mac(1, 9), mac(2, 9)]
        lab.plane.setOwnMACs([PacketBuilder.director], idle: idle)
        for destination in idle {
            let frame = PacketBuilder.ethernet(to: destination)
            let flow = FlowKey(client: Standard.client, clientPort: 5000, vip: Standard.main, port: 80)
            for packet in [flow.packet([.syn], to: destination), flow.packet([.ack], to: destination)] {
                let outcome = try lab.run(packet)
                #expect(outcome.verdict == .drop)
                #expect(outcome.moved == ["received": 1, "dropped-no-next-hop": 1])
            }
            // A frame for no service passes.
            try expectPassed(frame.fromClient(to: Standard.strict).tcp(from: 5000, to: 9, [.syn]), by: lab)
            try expectPassed(frame.fromClient(to: Standard.main).icmp(type: 8), by: lab)
        }
        #expect(try lab.run(PacketBuilder.syn(to: Standard.main)).verdict == .redirect)
        lab.plane.setOwnMACs([PacketBuilder.director] + idle)
        for destination in idle {
            let packet = PacketBuilder.ethernet(to: destination).fromClient(to: Standard.main).tcp([.syn])
            #expect(try lab.run(packet).verdict == .redirect)
        }
    }

    @Test("the outer source varies by flow", arguments: [8, 16, 24])
    func outerSourceByFlow(length: Int) throws {
        let prefix = try #require(IPv4Prefix(address("172.0.0.0"), length: length))
        let lab = try Lab(Standard.configuration, traits: PacketTraits(outerSources: prefix))
        var sources: Set<IPv4Address> = []
        for port in 1...1000 as ClosedRange<UInt16> {
            let flow = FlowKey(client: Standard.client, clientPort: port, vip: Standard.main, port: 80)
            var first: IPv4Address?
            for packet in [flow.packet([.syn]), flow.packet([.ack], payload: 100)] {
                let frame = packet.bytes
                let outcome = try lab.run(frame)
                let source = IPv4Address(word32(outcome.packet, 26))
                #expect(prefix.contains(source))
                #expect(source == first ?? source)
                first = source
                sources.insert(source)
                var path = Standard.web
                path.source = source
                #expect(outcome.packet == NaiveEncapsulator.encapsulate(frame, path: path, id: 0))
            }
        }
        // 1,000 balls into 256 bins leave 5 empty on average, and hardly ever 20.
        #expect(sources.count > min(236, 950))
        if length < 24 { #expect(sources.count > 950) }
    }
}
