import Addresses
import BPF
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// The effect of spoofed packets.
@MainActor
@Suite(.serialized, .needsRoot)
struct AttackTests {
    private static let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)
    private static let names = ServiceAddress(vip: Standard.main, port: 53, transport: .udp)
    private static let servers = 1...3 as ClosedRange<UInt8>

    private static func configuration(persistence: Persistence? = nil, down: Set<UInt8> = []) -> Configuration {
        let servers = servers.map { Standard.realServer($0) }
        return Configuration(
            services: [
                VirtualService(address: web, scheduler: .rr, persistence: persistence, servers: servers),
                VirtualService(address: names, scheduler: .rr, isOnePacket: true, servers: servers),
            ].map { VirtualService($0, effective: Standard.down(down)) },
            paths: Self.servers.map { Standard.path($0) })
    }

    private func flow(_ client: IPv4Address = Standard.client, port: UInt16 = 1000) -> FlowKey {
        FlowKey(client: client, clientPort: port, vip: Standard.main, port: 80)
    }

    // MARK: Answers

    @Test("each kind of answer has its own limit") func eachKindOfAnswerHasItsOwnLimit() throws {
        let lab = try Lab(Self.configuration(), repliesPerSecond: 20)
        let tooBig = flow(port: 2000).packet([.syn], payload: 1460).bytes
        let stray = flow(port: 3000).packet([.ack]).bytes
        var counts: [String: UInt64] = [:]
        // Each other kind of answer has fewer than 20 packets, and so stays below the limit.
        for _ in 0..<10 {
            for _ in 0..<200 { counts.merge(try lab.run(stray).moved, uniquingKeysWith: +) }
            #expect(try lab.run(tooBig).moved["answered-too-big"] == 1)
        }
        #expect(counts["dropped-reply-limit"] ?? 0 > 0)
        try lab.apply(Self.configuration(down: [1, 2, 3]))
        let refused = flow(port: 4000).packet([.syn]).bytes
        for _ in 0..<10 {
            for _ in 0..<200 { _ = try lab.run(stray) }
            #expect(try lab.run(refused).moved["answered-no-server"] == 1)
        }
        try lab.expectBalance()
    }

    // MARK: Path MTUs

    @Test("a report about a flow counts only where the flow is recorded or needs no record")
    func recordedFlowsConfirmWhatIsSaidOfThem() throws {
        let lab = try Lab(Self.configuration())
        func mayHaveSent(_ flow: FlowKey, to server: IPv4Address) throws -> Bool {
            try lab.plane.mayHaveSent(
                ExplainedPacket(
                    client: flow.client, clientPort: flow.clientPort, vip: flow.vip, port: flow.port,
                    transport: flow.transport), to: server)
        }
        let server = try #require(try lab.send(flow().packet([.syn])))
        for number in Self.servers {
            let other = Standard.server(number)
            #expect(try mayHaveSent(flow(), to: other) == (other == server))
            #expect(try !mayHaveSent(flow(port: 1001), to: other))
        }
        var elsewhere = flow()
        elsewhere.port = 81
        #expect(try !mayHaveSent(elsewhere, to: server))
        elsewhere.vip = Standard.strict
        #expect(try !mayHaveSent(elsewhere, to: server))
        // A service without records allows any report.
        let datagram = FlowKey(client: Standard.client, clientPort: 9, vip: Standard.main, port: 53, transport: .udp)
        #expect(try mayHaveSent(datagram, to: server))
        lab.stretchTimeouts()
        try lab.age(flow(), by: 32_001)
        #expect(try !mayHaveSent(flow(), to: server))
    }

    // MARK: Persistence

    /// Makes confirmed templates by connections that carry data. Returns the real server of each client.
    private func settle(_ clients: [IPv4Address], in lab: Lab) throws -> [IPv4Address] {
        try clients.map { client in
            let connection = flow(client)
            let server = try #require(try lab.send(connection.packet([.syn])))
            try lab.send(connection.packet([.ack]))
            #expect(try lab.send(connection.packet([.ack], payload: 100)) == server)
            return server
        }
    }

    private let clients = (1...20).map { IPv4Address(0x0A01_0000 + $0) }

    /// A spoofed client repeats its SYN to a server, and no handshake completes.
    @Test("spoofed SYNs move no persistent client") func spoofedSYNsMoveNoPersistentClient() throws {
        let lab = try Lab(Self.configuration(persistence: Persistence(timeout: 600)))
        lab.plane.setSilentAfter(1)
        let servers = try settle(clients, in: lab)
        var moved = 0
        for (client, server) in zip(clients, servers) {
            let id = Int(try lab.serverID(Self.web, server))
            lab.plane.maps.connectionCounts[id].completed = UInt32(try lab.now &- UInt16(IPVSD_SILENT_TICKS))
            for _ in 0..<2 { try lab.send(flow(client, port: 2000).packet([.syn])) }
            if try lab.send(flow(client, port: 3000).packet([.syn])) != server { moved += 1 }
        }
        #expect(moved == 0)
    }

    /// The handshakes are more than the templates have room for, each of a client that does not exist.
    @Test("spoofed handshakes evict no confirmed template", arguments: [false, true])
    func spoofedHandshakesEvictNoTemplate(withData: Bool) throws {
        var capacity = Capacity(connections: 16384)
        capacity.templates = 1024
        let lab = try withPinDirectory { try Lab(directory: $0, capacity: capacity) }
        try lab.apply(Self.configuration(persistence: Persistence(timeout: 600)))
        let servers = try settle(clients, in: lab)
        var frames = [flow().packet([.syn]).bytes, flow().packet([.ack]).bytes]
        if withData { frames.append(flow().packet([.ack], payload: 1).bytes) }
        for number in 0..<4096 as Range<UInt32> {
            for frame in frames {
                var frame = frame
                frame.replaceSubrange(26..<30, with: big(0x0B00_0000 + number))
                try lab.send(frame)
            }
        }
        // The order is reversed, as the ring would then name other servers.
        for (client, server) in zip(clients, servers).reversed() {
            #expect(try lab.send(flow(client, port: 3000).packet([.syn])) == server)
        }
    }
}
