import Addresses
import BPF
import DataPlane
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// Connections: their servers, states, ages and counts, and the eviction from full buckets.
@MainActor
@Suite(.serialized, .needsRoot)
struct FlowTableTests {
    private static let shared = Swift.Result { try Lab(configuration()) }
    let lab: Lab

    static let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)
    private static let any = ServiceAddress(vip: Standard.strict)

    /// Returns three real servers by rr behind a TCP port, and the same three behind all ports of another VIP.
    static func configuration(down: Set<UInt8> = [], onLoss: ServerLoss = .keep) -> Configuration {
        let servers = (1...3 as ClosedRange<UInt8>).map { Standard.realServer($0) }
        return Configuration(
            services: [web, any].map {
                VirtualService(
                    VirtualService(address: $0, scheduler: .rr, onServerLoss: onLoss, servers: servers),
                    effective: Standard.down(down))
            },
            paths: (1...3 as ClosedRange<UInt8>).map { Standard.path($0) })
    }

    init() throws {
        lab = try Self.shared.get()
        try lab.apply(Self.configuration())
        lab.forgetFlows()
    }

    func client(_ number: UInt16, _ transport: TransportProtocol = .tcp) -> FlowKey {
        FlowKey(
            client: Standard.client, clientPort: 1000 + number,
            vip: transport == .tcp ? Standard.main : Standard.strict,
            port: transport == .tcp ? 80 : 53, transport: transport)
    }

    /// Expects that the counts match the table.
    func expectExactCounts(sourceLocation: SourceLocation = #_sourceLocation) throws {
        #expect(lab.loads() == lab.recount(), sourceLocation: sourceLocation)
        try lab.expectBalance(sourceLocation: sourceLocation)
    }

    // MARK: Affinity

    @Test("packets of a flow go to its server") func packetsOfAFlowGoToItsServer() throws {
        let flows = (0..<60).map { client($0, $0 % 2 == 0 ? .tcp : .udp) }
        let first = try flows.map { try #require(try lab.send($0.packet([.syn]))) }
        #expect(Set(first).count == 3)
        for _ in 0..<3 {
            for (flow, server) in zip(flows, first) {
                #expect(try lab.send(flow.packet([.ack], payload: 10)) == server)
            }
        }
        try expectExactCounts()
    }

    @Test("client, client port, service, protocol and port distinguish flows") func flowsAreToldApart() throws {
        var flows = [client(0)]
        flows.append(FlowKey(client: address("192.0.2.8"), clientPort: 1000, vip: Standard.main, port: 80))
        flows.append(client(1))
        for port in [80, 81, 82] as [UInt16] {
            for transport in TransportProtocol.allCases {
                flows.append(
                    FlowKey(
                        client: Standard.client, clientPort: 1000, vip: Standard.strict, port: port,
                        transport: transport))
            }
        }
        for flow in flows {
            let outcome = try lab.run(flow.packet([.syn]))
            #expect(outcome.moved == ["received": 1, "forwarded": 1])
        }
        for flow in flows { #expect(try lab.flow(flow) != nil) }
        #expect(lab.recount().values.reduce(0) { $0 + $1.active + $1.inactive } == Int32(flows.count))
        try expectExactCounts()
    }

    @Test("statistics count the inner packet") func statisticsCountTheInnerPacket() throws {
        func totals() throws -> (connections: UInt64, packets: UInt64, bytes: UInt64) {
            let service = try #require(try lab.plane.snapshot().services.first { $0.address == Self.web })
            return service.servers.reduce((0, 0, 0)) {
                ($0.0 + $1.connections, $0.1 + $1.packets, $0.2 + $1.bytes)
            }
        }
        let before = try totals()
        try lab.send(client(0).packet([.syn]).padded())
        try lab.send(client(0).packet([.ack], payload: 1001))
        try lab.send(client(1).packet([.syn]))
        let after = try totals()
        #expect(after.connections - before.connections == 2)
        #expect(after.packets - before.packets == 3)
        #expect(after.bytes - before.bytes == 40 + 1041 + 40)
    }

    @Test("an any-port service learns ports") func anyPortServicesLearnPorts() throws {
        func connect(port: UInt16, answering flags: PacketBuilder.TCPFlags) throws {
            let flow = FlowKey(client: Standard.client, clientPort: 2000, vip: Standard.strict, port: port)
            try lab.send(flow.packet([.syn]))
            try lab.send(flow.packet(flags))
        }
        try connect(port: 22, answering: [.ack])
        try connect(port: 23, answering: [.syn])
        try connect(port: 24, answering: [.fin])
        try connect(port: 25, answering: [.rst])
        try lab.send(client(3).packet([.syn]))
        try lab.send(client(3).packet([.ack]))
        #expect(try lab.plane.learntPorts() == [Self.any: [22]])
    }

    // MARK: States

    struct Transition: Sendable, CustomTestStringConvertible {
        var state: ipvsd_state
        var flags: PacketBuilder.TCPFlags
        var next: ipvsd_state
        var testDescription: String { "state \(state.rawValue), flags \(flags.rawValue): \(next.rawValue)" }
    }

    /// The transitions of tcp_states, INPUT-ONLY, in ip_vs_proto_tcp.c. A SYN in the last three of IPVS's states is
    /// scheduled anew here.
    nonisolated private static let transitions: [Transition] = {
        let states = [
            IPVSD_STATE_ESTABLISHED, IPVSD_STATE_SYN_RECV, IPVSD_STATE_FIN_WAIT, IPVSD_STATE_TIME_WAIT,
            IPVSD_STATE_CLOSE, IPVSD_STATE_BARE_ACK,
        ]
        let (es, sr, fw, tw, cl, ba) = (states[0], states[1], states[2], states[3], states[4], states[5])
        let table: [([PacketBuilder.TCPFlags], [ipvsd_state])] = [
            // A single ACK counts as ESTABLISHED in IPVS. Here it has a state of its own until more packets come.
            ([[.syn]], [es, sr, sr, sr, sr, es]),
            ([[.syn, .ack]], [es, sr, sr, sr, sr, es]),
            ([[.fin], [.fin, .ack]], [fw, tw, fw, tw, cl, fw]),
            ([[.ack], [.ack, .psh]], [es, ba, fw, tw, cl, es]),
            ([[.rst], [.rst, .ack], [.rst, .syn], [.rst, .fin]], [cl, sr, cl, cl, cl, cl]),
            // tcp_state_idx is -1 for these flags, which means CLOSE.
            ([[], [.psh]], [cl, cl, cl, cl, cl, cl]),
        ]
        return table.flatMap { flags, nexts in
            flags.flatMap { flags in zip(states, nexts).map { Transition(state: $0, flags: flags, next: $1) } }
        }
    }()

    @Test("TCP states change as in IPVS", arguments: transitions)
    func transition(_ transition: Transition) throws {
        let flow = client(0)
        let server = try #require(try lab.send(flow.packet([.syn])))
        try lab.force(flow, into: transition.state)
        let outcome = try lab.run(flow.packet(transition.flags))
        let id = try lab.serverID(Self.web, IPv4Address(word32(outcome.packet, 30)))
        #expect(try lab.flow(flow) == Lab.Flow(server: id, state: transition.next))
        let isAnew = transition.flags == [.syn] && !transition.state.isActive
        #expect(outcome.moved["rescheduled"] == (isAnew ? 1 : nil))
        if !isAnew { #expect(id == (try lab.serverID(Self.web, server))) }
        #expect(
            lab.loads() == [
                id: Lab.Load(active: transition.next.isActive ? 1 : 0, inactive: transition.next.isActive ? 0 : 1)
            ])
        try expectExactCounts()
    }

    @Test("a connection passes through its states") func aConnectionsLife() throws {
        let flow = client(0)
        let server = try lab.serverID(Self.web, try #require(try lab.send(flow.packet([.syn]))))
        let steps: [(PacketBuilder.TCPFlags, ipvsd_state)] = [
            ([.syn], IPVSD_STATE_SYN_RECV), ([.ack], IPVSD_STATE_BARE_ACK), ([.ack, .psh], IPVSD_STATE_ESTABLISHED),
            ([.fin, .ack], IPVSD_STATE_FIN_WAIT), ([.ack], IPVSD_STATE_FIN_WAIT), ([.rst], IPVSD_STATE_CLOSE),
            ([.syn], IPVSD_STATE_SYN_RECV),
        ]
        for (flags, state) in steps {
            try lab.send(flow.packet(flags))
            #expect(try lab.flow(flow)?.state == state)
            try expectExactCounts()
        }
        // The last SYN went to the next server of the ring.
        #expect(try lab.flow(flow)?.server != server)
        #expect(lab.loads().count == 1)
    }

    @Test("datagrams count as inactive") func datagramsAreInactive() throws {
        let flow = client(0, .udp)
        try lab.send(flow.packet(payload: 4))
        let entry = try #require(try lab.flow(flow))
        #expect(entry.state == IPVSD_STATE_ONE_DATAGRAM)
        try lab.send(flow.packet(payload: 4))
        #expect(try lab.flow(flow)?.state == IPVSD_STATE_UDP)
        #expect(lab.loads() == [entry.server: Lab.Load(active: 0, inactive: 1)])
        try expectExactCounts()
    }

    // MARK: Servers that are down

    @Test("new flows avoid a server that is down", arguments: TransportProtocol.allCases)
    func newFlowsLeaveAServerThatIsDown(_ transport: TransportProtocol) throws {
        let flow = client(0, transport)
        let service = transport == .tcp ? Self.web : Self.any
        let first = try #require(try lab.send(flow.packet([.syn])))
        try lab.apply(Self.configuration(down: [UInt8(truncatingIfNeeded: first.value)]))

        let outcome = try lab.run(flow.packet([.syn]))
        #expect(outcome.moved == ["received": 1, "forwarded": 1, "rescheduled": 1])
        let second = IPv4Address(word32(outcome.packet, 30))
        #expect(second != first)
        #expect(try lab.flow(flow)?.server == (try lab.serverID(service, second)))
        #expect(lab.loads().keys.sorted() == [try lab.serverID(service, second)])
        #expect(try lab.send(flow.packet([.ack])) == second)
        try expectExactCounts()

        // Nothing moves when the server comes back.
        try lab.apply(Self.configuration())
        #expect(try lab.send(flow.packet([.ack])) == second)
    }

    @Test("connections stay with a server that is down") func connectionsStayWithAServerThatIsDown() throws {
        let flow = client(0)
        let server = try #require(try lab.send(flow.packet([.syn])))
        try lab.send(flow.packet([.ack]))
        try lab.apply(Self.configuration(down: [UInt8(truncatingIfNeeded: server.value)]))
        let outcome = try lab.run(flow.packet([.ack, .psh], payload: 5))
        #expect(outcome.moved == ["received": 1, "forwarded": 1])
        #expect(IPv4Address(word32(outcome.packet, 30)) == server)
    }

    @Test("connections of a lost server are reset") func aLostServersConnectionsAreReset() throws {
        let flow = client(0)
        let server = try #require(try lab.send(flow.packet([.syn])))
        try lab.send(flow.packet([.ack]))
        try lab.apply(Self.configuration(onLoss: .reset))
        #expect(try lab.send(flow.packet([.ack])) == server)
        try lab.apply(Self.configuration(down: [UInt8(truncatingIfNeeded: server.value)], onLoss: .reset))
        let outcome = try lab.run(flow.packet([.ack, .psh], payload: 5))
        #expect(outcome.moved == ["received": 1, "answered-server-lost": 1])
        // A RST from the VIP has protocol 6 behind one IP header, and flags 0x04.
        try #require(outcome.packet.count == 54)
        #expect(outcome.packet[23] == 6)
        #expect(outcome.packet[47] == 0x04)
        #expect(try lab.flow(flow) == nil)
        #expect(try lab.run(flow.packet([.ack])).moved == ["received": 1, "answered-no-connection": 1])
        try expectExactCounts()
    }

    @Test("connections of a lost server are rehashed") func aLostServersConnectionsAreRehashed() throws {
        let flow = client(0)
        let server = try #require(try lab.send(flow.packet([.syn])))
        for _ in 0..<2 { try lab.send(flow.packet([.ack])) }
        try lab.apply(Self.configuration(down: [UInt8(truncatingIfNeeded: server.value)], onLoss: .rehash))
        let outcome = try lab.run(flow.packet([.ack]))
        #expect(outcome.moved == ["received": 1, "forwarded": 1, "rescheduled": 1])
        let other = IPv4Address(word32(outcome.packet, 30))
        #expect(other != server)
        let entry = Lab.Flow(server: try lab.serverID(Self.web, other), state: IPVSD_STATE_ESTABLISHED)
        #expect(try lab.flow(flow) == entry)
        try expectExactCounts()
    }

    @Test("a flow stays as it is while all servers are down") func allServersDownLeaveTheFlowAlone() throws {
        let flow = client(0)
        try lab.send(flow.packet([.syn]))
        let entry = try lab.flow(flow)
        try lab.apply(Self.configuration(down: [1, 2, 3]))
        let outcome = try lab.run(flow.packet([.syn]))
        #expect(outcome.moved == ["received": 1, "answered-no-server": 1, "rescheduled": 1])
        #expect(try lab.flow(flow) == entry)
        try expectExactCounts()
    }

    // MARK: Age

    nonisolated private static let agingStates = [
        IPVSD_STATE_SYN_RECV, IPVSD_STATE_ESTABLISHED, IPVSD_STATE_FIN_WAIT, IPVSD_STATE_TIME_WAIT, IPVSD_STATE_CLOSE,
    ]

    /// The values are those of ip_vs_proto_tcp.c and ip_vs_proto_udp.c, in ticks of 2^28 ns.
    @Test("time-outs are IPVS's") func timeouts() {
        let seconds: [(ipvsd_state, UInt64)] = [
            (IPVSD_STATE_SYN_RECV, 60), (IPVSD_STATE_ESTABLISHED, 900), (IPVSD_STATE_FIN_WAIT, 120),
            (IPVSD_STATE_TIME_WAIT, 120), (IPVSD_STATE_CLOSE, 10), (IPVSD_STATE_UDP, 300),
            (IPVSD_STATE_BARE_ACK, 900), (IPVSD_STATE_ONE_DATAGRAM, 300),
        ]
        for (state, seconds) in seconds {
            // A tick is 2^28 ns, which is 268,435,456 ns.
            let difference = Double(seconds) - Double(lab.timeout(state)) * 0.268435456
            #expect((0..<0.27).contains(difference), "\(state): \(lab.timeout(state)) ticks")
        }
    }

    @Test("an expired connection is not found", arguments: agingStates)
    func expiredConnectionsAreNotHit(_ state: ipvsd_state) throws {
        let flow = client(0)
        let server = try #require(try lab.send(flow.packet([.syn])))
        try lab.force(flow, into: state)
        // Two ticks may pass while this runs.
        try lab.age(flow, by: lab.timeout(state) - 2)
        #expect(try lab.send(flow.packet([.ack])) == server)
        try lab.force(flow, into: state)
        try lab.age(flow, by: lab.timeout(state) + 1)
        #expect(try lab.run(flow.packet([.ack])).moved == ["received": 1, "answered-no-connection": 1])
        #expect(try lab.run(flow.packet([.rst])).moved == ["received": 1, "dropped-reset-without-connection": 1])

        // A SYN begins a new flow, which reuses the entry of the old one.
        #expect(try lab.run(flow.packet([.syn])).moved == ["received": 1, "forwarded": 1])
        #expect(try lab.flow(flow)?.state == IPVSD_STATE_SYN_RECV)
        try expectExactCounts()
    }

    @Test("datagrams of an expired flow are scheduled anew") func expiredDatagramsAreScheduledAnew() throws {
        let flow = client(0, .udp)
        let server = try #require(try lab.send(flow.packet(payload: 1)))
        try lab.age(flow, by: lab.timeout(IPVSD_STATE_UDP) - 2)
        #expect(try lab.send(flow.packet(payload: 1)) == server)
        try lab.age(flow, by: lab.timeout(IPVSD_STATE_UDP) + 1)
        let outcome = try lab.run(flow.packet(payload: 1))
        #expect(outcome.moved == ["received": 1, "forwarded": 1])
        #expect(IPv4Address(word32(outcome.packet, 30)) != server)
        try expectExactCounts()
    }

    @Test("packets refresh the stamp") func packetsRefreshTheStamp() throws {
        let flow = client(0)
        try lab.send(flow.packet([.syn]))
        try lab.send(flow.packet([.ack]))
        try lab.age(flow, by: 1000)
        try lab.send(flow.packet([.ack]))
        let entry = try #require(try lab.entries(of: flow).first)
        #expect(try lab.now &- UInt16(entry.pointee.value >> 48) <= 1)
    }

    @Test("the sweep frees expired flows") func sweepFreesWhatExpired() throws {
        let flows = (0..<200).map { client($0, $0 % 3 == 0 ? .udp : .tcp) }
        for flow in flows { try lab.send(flow.packet([.syn])) }
        for (index, flow) in flows.enumerated() where index % 3 != 0 {
            try lab.force(flow, into: Self.agingStates[index % Self.agingStates.count])
        }
        for (index, flow) in flows.enumerated() {
            let state = try #require(try lab.flow(flow)).state
            try lab.age(flow, by: index % 2 == 0 ? lab.timeout(state) + 1 : lab.timeout(state) - 3)
        }
        try lab.plane.sweep()
        for (index, flow) in flows.enumerated() { #expect((try lab.flow(flow) == nil) == (index % 2 == 0), "\(index)") }
        #expect(lab.recount().values.reduce(0) { $0 + $1.active + $1.inactive } == 100)
        try expectExactCounts()
    }

    /// Packets of new flows sweep a part of the table in each tick.
    @Test("packets of new flows sweep while there is no daemon") func packetsSweepWithoutDaemon() throws {
        let flows = (0..<200).map { client($0, .tcp) }
        for flow in flows { try lab.send(flow.packet([.syn])) }
        for flow in flows { try lab.age(flow, by: lab.timeout(IPVSD_STATE_SYN_RECV) + 1) }
        func present() -> Int { lab.recount().values.reduce(0) { $0 + Int($1.active) } }
        let now = try lab.plane.tick()
        // Packets do not sweep if the daemon never swept, or swept recently.
        for swept in [0, now &- UInt32(IPVSD_ABSENT_TICKS) + 5] {
            lab.plane.maps.tableLoad[0].last_daemon_gc = swept
            try lab.send(client(300, .tcp).packet([.syn]))
            #expect(present() >= 200)
        }
        lab.plane.maps.tableLoad[0].last_daemon_gc = now &- UInt32(IPVSD_ABSENT_TICKS)
        // Each step sweeps only a part of the table's buckets.
        for _ in 0..<50 where present() > 1 {
            lab.plane.maps.tableLoad[0].last_inline_gc = 0
            try lab.send(client(300, .tcp).packet([.ack]))
            try lab.send(client(301, .tcp).packet([.ack]))
        }
        #expect(present() == 1)
        #expect(lab.plane.maps.tableLoad[0].half_open == 0)
        try expectExactCounts()
        // The daemon is back.
        try lab.plane.sweep()
        #expect(try lab.plane.tick() &- lab.plane.maps.tableLoad[0].last_daemon_gc <= 2)
    }

    /// The handshakes of these flows cannot complete, and must not count when the server is back.
    @Test("the sweep frees half-open flows of a server that is down") func sweepFreesWhatADeadServerLeftHalfOpen()
        throws
    {
        let flows = (0..<9).map { client($0) }
        for flow in flows { try lab.send(flow.packet([.syn])) }
        for flow in flows[3..<6] { try lab.send(flow.packet([.ack])) }
        for flow in flows[..<6] { try lab.age(flow, by: 20) }
        try lab.plane.sweep()
        for flow in flows { #expect(try lab.flow(flow) != nil) }

        try lab.apply(Self.configuration(down: [1, 2, 3]))
        try lab.plane.sweep()
        #expect(try flows.map { try lab.flow($0) != nil } == [false, false, false] + Array(repeating: true, count: 6))
        try expectExactCounts()
    }

    // MARK: Replies

    @Test("replies are limited for each second and CPU") func repliesAreLimited() throws {
        let none = try Lab(Self.configuration(), repliesPerSecond: 0)
        let dropped = ["received": 1, "dropped-reply-limit": 1] as [String: UInt64]
        #expect(try none.run(client(0).packet([.ack])).moved == dropped)
        try none.apply(Self.configuration(down: [1, 2, 3]))
        let refused = try none.run(client(0).packet([.syn]))
        #expect(refused.moved == dropped)
        #expect(refused.verdict == .drop)
        #expect(try none.run(.ethernet().fromClient(to: Standard.main).icmp(type: 8)).moved["answered-echo"] == 1)
        try none.expectBalance()

        let some = try Lab(Self.configuration(), repliesPerSecond: 20)
        var counts: [String: UInt64] = [:]
        for _ in 0..<2000 { counts.merge(try some.run(client(0).packet([.ack])).moved, uniquingKeysWith: +) }
        let answered = counts["answered-no-connection"] ?? 0
        // The packets take less than three seconds, on at most 64 CPUs. Each CPU may answer 20 of them in each second.
        #expect(answered >= 20)
        #expect(answered <= 20 * 3 * 64)
        #expect(answered < 2000)
        #expect(counts["dropped-reply-limit"] == 2000 - answered)
        try some.expectBalance()
    }

    @Test("replies leave by the interface of their packet") func repliesLeaveByTheirIngress() throws {
        let redirecting = try Lab(Self.configuration(), answersByRedirect: true)
        let ack = client(0).packet([.ack]).bytes
        #expect(try redirecting.run(ack, ingress: 1).verdict == Verdict.redirect.rawValue)
        #expect(try lab.run(ack, ingress: 1).verdict == Verdict.transmit.rawValue)
        #expect(try redirecting.run(ack, ingress: 1).packet == (try lab.run(ack, ingress: 1).packet))
    }
}
