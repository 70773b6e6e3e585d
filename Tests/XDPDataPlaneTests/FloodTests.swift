import Addresses
import BPF
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// Floods of SYNs. Connections stay unrecorded, clients are still served, and present connections stay.
@MainActor
@Suite(.serialized, .needsRoot)
struct FloodTests {
    private let lab: Lab
    private static let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)
    private static let limit = 100

    private static func configuration() -> Configuration {
        Configuration(
            services: [
                VirtualService(
                    address: web, scheduler: .rr,
                    servers: (1...3 as ClosedRange<UInt8>).map { Standard.realServer($0) })
            ],
            paths: (1...3 as ClosedRange<UInt8>).map { Standard.path($0) })
    }

    init() throws {
        lab = try withPinDirectory { try Lab(directory: $0, capacity: Capacity(connections: 2048)) }
        try lab.apply(Self.configuration())
        lab.plane.setHalfOpenLimit(UInt32(Self.limit))
    }

    private func spoofed(_ number: Int) -> FlowKey {
        FlowKey(
            client: IPv4Address(0x0B00_0000 + UInt32(number)), clientPort: UInt16(1024 + number % 60000),
            vip: Standard.main, port: 80)
    }

    private func client(_ number: Int) -> FlowKey {
        FlowKey(
            client: Standard.client, clientPort: UInt16(2000 + number), vip: Standard.main, port: 80)
    }

    private func expectExactCounts() throws {
        #expect(lab.loads() == lab.recount())
        try lab.expectBalance()
        #expect(Int(lab.plane.maps.tableLoad[0].half_open) == halfOpen)
    }

    /// The number of half-open flows in the table.
    private var halfOpen: Int {
        var count = 0
        for bucket in 0..<lab.plane.maps.flows.count {
            let entries = lab.plane.maps.flows.pointer(bucket)
            for way in 0..<Int(IPVSD_WAYS) {
                let value = entries.load(fromByteOffset: 16 * way + 8, as: UInt64.self)
                if value != 0, value >> 12 & 15 == UInt64(IPVSD_STATE_SYN_RECV.rawValue) { count += 1 }
            }
        }
        return count
    }

    @Test("half-open connections are counted") func halfOpenConnectionsAreCounted() throws {
        for number in 0..<50 { try lab.send(client(number).packet([.syn])) }
        #expect(halfOpen == 50)
        for number in 0..<20 { try lab.send(client(number).packet([.ack])) }
        #expect(halfOpen == 30)
        for number in 20..<30 { try lab.send(client(number).packet([.fin])) }
        #expect(halfOpen == 20)
        try expectExactCounts()
    }

    @Test("nothing is recorded beyond the limit") func beyondTheLimitNothingIsRecorded() throws {
        for number in 0..<Self.limit {
            #expect(try lab.run(spoofed(number).packet([.syn])).moved["unrecorded-in-flood"] == nil)
        }
        let before = lab.recount()
        for number in 1000..<2000 {
            #expect(
                try lab.run(spoofed(number).packet([.syn])).moved
                    == ["received": 1, "forwarded": 1, "unrecorded-in-flood": 1])
            // A sender that spoofs a SYN can also spoof an ACK.
            #expect(
                try lab.run(spoofed(number).packet([.ack])).moved
                    == ["received": 1, "forwarded": 1, "rederived-without-connection": 1])
        }
        #expect(lab.recount() == before)
        let pressure = lab.plane.maps.tableLoad[0]
        #expect(pressure.since != 0)
        #expect(pressure.last &- pressure.since < 1000)
        try expectExactCounts()
    }

    @Test("a client is served during a flood") func aClientIsServedInAFlood() throws {
        let established = client(0)
        let server = try #require(try lab.send(established.packet([.syn])))
        try lab.send(established.packet([.ack]))
        try lab.send(established.packet([.ack], payload: 10))
        for number in 0..<20_000 { try lab.send(spoofed(number).packet([.syn])) }
        #expect(try lab.send(established.packet([.ack], payload: 10)) == server)

        for number in 1...50 {
            let newcomer = client(number)
            let first = try #require(try lab.send(newcomer.packet([.syn])))
            #expect(try lab.send(newcomer.packet([.ack])) == first)
            #expect(try lab.flow(newcomer) == nil)
            #expect(try lab.send(newcomer.packet([.ack, .psh], payload: 100)) == first)
            // Data can be spoofed like an ACK.
            #expect(try lab.flow(newcomer)?.state == IPVSD_STATE_BARE_ACK)
            #expect(try lab.send(newcomer.packet([.ack])) == first)
            #expect(try lab.flow(newcomer)?.state == IPVSD_STATE_ESTABLISHED)
        }
        try expectExactCounts()
    }

    /// The pairs are ten times as many as the entries of the table, and no pair counts as half-open.
    @Test("pairs of SYN and ACK evict no established connection") func pairsOfSYNAndACKDoNotDriveOutAConnection() throws
    {
        let established = (0..<200).map(client)
        let servers = try established.map { flow in
            let server = try #require(try lab.send(flow.packet([.syn])))
            try lab.send(flow.packet([.ack]))
            try lab.send(flow.packet([.ack], payload: 10))
            return server
        }
        for number in 0..<(10 * lab.plane.maps.flows.count * Int(IPVSD_WAYS)) {
            let flow = spoofed(number)
            try lab.send(flow.packet([.syn]))
            try lab.send(flow.packet([.ack]))
        }
        for (flow, server) in zip(established, servers) { #expect(try lab.send(flow.packet([.ack])) == server) }
        try expectExactCounts()
    }

    @Test("the limit can be lifted") func theLimitCanBeLifted() throws {
        lab.plane.setHalfOpenLimit(0)
        for number in 0..<1000 { try lab.send(spoofed(number).packet([.syn])) }
        #expect(halfOpen > 900)
        #expect(lab.plane.maps.tableLoad[0].last == 0)
    }
}
