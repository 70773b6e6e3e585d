import Addresses
import BPF
import DataPlane
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// Full buckets: second buckets, overflow marks, and the entries that give way.
extension FlowTableTests {
    private static var crowd: [FlowKey] = []
    private var ways: Int { Int(IPVSD_WAYS) }

    /// Returns flows that share a bucket. Unless `secondBucketsAreFull` is false, they find no room in their second
    /// buckets.
    private func crowd(_ count: Int, secondBucketsAreFull: Bool = true) throws -> [FlowKey] {
        // The flows are searched for only once, as the table's seed stays.
        if Self.crowd.isEmpty { Self.crowd = try findCrowd(20) }
        let flows = Array(Self.crowd.prefix(count))
        if secondBucketsAreFull { for flow in flows { try lab.fillSecondBucket(of: flow) } }
        return flows
    }

    private func findCrowd(_ count: Int) throws -> [FlowKey] {
        let base = try lab.key(of: client(0)) & 0xFFFF
        let bucket = lab.home(ofKey: try lab.key(of: client(0))).bucket
        var flows: [FlowKey] = []
        for number in 0..<UInt32(64 * lab.plane.maps.flows.count) where flows.count < count {
            let address = IPv4Address(0x0B00_0000 + number >> 4)
            let port = UInt16(2000 + number & 15)
            let key = UInt64(address.bigEndian) << 32 | UInt64(port.bigEndian) << 16 | base
            let home = lab.home(ofKey: key)
            if home.bucket == bucket, home.second != bucket {
                flows.append(FlowKey(client: address, clientPort: port, vip: Standard.main, port: 80))
            }
        }
        try #require(flows.count == count)
        return flows
    }

    /// Returns the server that every director names for this client.
    private func maglev(_ flow: FlowKey) -> IPv4Address {
        let servers = (1...3 as ClosedRange<UInt8>).map { Standard.server($0) }
        let size = MaglevTable.size(forServers: 3, minimum: 4093)
        let table = MaglevTable.build(members: servers.map { (UInt64($0.value), 1) }, size: size)
        let hash = MaglevTable.hash(client: flow.client, port: flow.clientPort)
        return servers[Int(table[MaglevTable.slot(of: hash, size: size)])]
    }

    private func forgetOverflows() throws {
        for index in 0..<lab.plane.maps.overflows.count { lab.plane.maps.overflows[index] = ipvsd_overflow() }
    }

    @Test("a flow in its second bucket passes through all states and is swept") func aFullBucketHasASecondOne() throws {
        try forgetOverflows()
        defer { try? forgetOverflows() }
        lab.forgetFlows()
        let flows = try crowd(ways + 2, secondBucketsAreFull: false)
        for flow in flows { #expect(try lab.run(flow.packet([.syn])).moved == ["received": 1, "forwarded": 1]) }
        for spilled in flows.suffix(2) {
            let server = try #require(try lab.flow(spilled)).server
            for flags in [[.ack], [.ack, .psh], [.fin, .ack]] as [PacketBuilder.TCPFlags] {
                #expect(try lab.run(spilled.packet(flags)).moved == ["received": 1, "forwarded": 1])
            }
            #expect(try lab.flow(spilled) == Lab.Flow(server: server, state: IPVSD_STATE_FIN_WAIT))
            try expectExactCounts()
        }
        // When the first bucket has room again, a flow stays in its second bucket, and a new flow does not search
        // there.
        try lab.age(flows[0], by: lab.timeout(IPVSD_STATE_SYN_RECV) + 1)
        try lab.plane.sweep()
        #expect(try lab.flow(flows[0]) == nil)
        #expect(try lab.run(flows[ways].packet([.ack])).moved == ["received": 1, "forwarded": 1])
        try lab.age(flows[ways], by: lab.timeout(IPVSD_STATE_FIN_WAIT) + 1)
        try lab.plane.sweep()
        #expect(try lab.flow(flows[ways]) == nil)
        try expectExactCounts()
    }

    /// The table is small, so that many of the flows are in their second buckets.
    @Test("each recorded flow of a full table is found exactly once") func everyFlowOfAFullTableIsFound() throws {
        var capacity = Capacity.roomy
        capacity.flowBuckets = 64
        let lab = try withPinDirectory { try Lab(directory: $0, capacity: capacity) }
        try lab.apply(Self.configuration())
        lab.plane.setHalfOpenLimit(0)
        let flows = (0..<400).map {
            FlowKey(
                client: IPv4Address(0x0B00_0000 + UInt32($0) * 7919), clientPort: 4000, vip: Standard.main, port: 80)
        }
        var recorded: [FlowKey] = []
        for flow in flows {
            let moved = try lab.run(flow.packet([.syn])).moved
            if moved == ["received": 1, "forwarded": 1] { recorded.append(flow) }
        }
        // The table has 512 entries. Without second buckets, only some 340 flows would have found an entry.
        #expect(recorded.count > 380)
        for flow in recorded {
            #expect(try lab.run(flow.packet([.ack], payload: 1)).moved == ["received": 1, "forwarded": 1])
        }
        #expect(lab.recount() == lab.loads())
    }

    @Test("a spill mark lasts as long as its flows") func spillsAreForgottenWithTheirFlows() throws {
        try forgetOverflows()
        defer { try? forgetOverflows() }
        lab.forgetFlows()
        let flows = try crowd(ways + 1, secondBucketsAreFull: false)
        for flow in flows { try lab.send(flow.packet([.syn])) }
        let spilled = flows[ways], bucket = lab.home(ofKey: try lab.key(of: spilled)).bucket
        let longest = (0..<16).map { lab.timeout(ipvsd_state(rawValue: $0)) }.max() ?? 0
        func mark(_ stamp: UInt16) { lab.plane.maps.markSpilled(bucket, stamp: stamp) }
        func isMarked() -> Bool {
            withUnsafeBytes(of: lab.plane.maps.overflows[bucket / 32]) {
                $0.load(fromByteOffset: 64 + bucket % 32 * 2, as: UInt16.self) != 0
            }
        }
        #expect(isMarked())
        mark(try lab.now &- (longest - 3))
        try lab.plane.sweep()
        #expect(isMarked())
        // A refresh of the flow refreshes the mark.
        try lab.age(spilled, by: lab.timeout(IPVSD_STATE_SYN_RECV) - 2)
        try lab.send(spilled.packet([.syn]))
        try lab.plane.sweep()
        #expect(isMarked())
        #expect(try lab.flow(spilled) != nil)
        mark(try lab.now &- (longest + 2))
        try lab.plane.sweep()
        #expect(!isMarked())
    }

    @Test("a full bucket falls back to the Maglev table") func aFullBucketFallsBackToMaglev() throws {
        try forgetOverflows()
        defer { try? forgetOverflows() }
        let flows = try crowd(ways + 4)
        let stranger = try lab.run(flows[ways + 3].packet([.ack]))
        #expect(stranger.moved == ["received": 1, "answered-no-connection": 1])
        for flow in flows.prefix(ways) { #expect(try lab.run(flow.packet([.syn])).moved["forwarded"] == 1) }
        let before = lab.recount()
        for flow in flows[ways..<(ways + 3)] {
            let opening = try lab.run(flow.packet([.syn]))
            #expect(opening.moved == ["received": 1, "forwarded": 1, "flow-table-full": 1])
            #expect(IPv4Address(word32(opening.packet, 30)) == maglev(flow))
            #expect(try lab.flow(flow) == nil)
            for flags in [[.ack], [.ack, .psh], [.fin, .ack], [.rst]] as [PacketBuilder.TCPFlags] {
                let later = try lab.run(flow.packet(flags))
                #expect(later.moved == ["received": 1, "forwarded": 1, "rederived-without-connection": 1])
                #expect(IPv4Address(word32(later.packet, 30)) == maglev(flow))
            }
        }
        #expect(lab.recount() == before)
        // Any packet without a connection in this bucket may belong to a connection without room.
        #expect(try lab.run(flows[ways + 3].packet([.ack])).moved["rederived-without-connection"] == 1)
        for flow in flows.prefix(ways) { #expect(try lab.run(flow.packet([.ack])).moved["forwarded"] == 1) }
        try expectExactCounts()

        // With room again, the rederived connection is recorded at its server. Data does not make its entry less likely
        // to give way.
        try lab.force(flows[0], into: IPVSD_STATE_TIME_WAIT)
        try lab.age(flows[0], by: 3)
        let outcome = try lab.run(flows[ways].packet([.ack], payload: 10))
        #expect(
            outcome.moved == [
                "received": 1, "forwarded": 1, "rederived-without-connection": 1, "flow-evicted": 1,
            ])
        let entry = try #require(try lab.flow(flows[ways]))
        #expect(entry == Lab.Flow(server: try lab.serverID(Self.web, maglev(flows[ways])), state: IPVSD_STATE_BARE_ACK))
        try lab.send(flows[ways].packet([.ack]))
        #expect(try lab.flow(flows[ways])?.state == IPVSD_STATE_ESTABLISHED)
        #expect(try lab.run(flows[ways].packet([.ack])).moved == ["received": 1, "forwarded": 1])
        try expectExactCounts()
    }

    @Test("an ICMP error for an overflowed bucket is rederived") func anICMPErrorOfAnOverflowedBucketIsRederived()
        throws
    {
        try forgetOverflows()
        defer { try? forgetOverflows() }
        let flows = try crowd(ways + 1)
        for flow in flows { try lab.send(flow.packet([.syn])) }
        let quote = PacketBuilder.ethernet().ipv4(from: Standard.main, to: flows[ways].client)
            .tcp(from: 80, to: flows[ways].clientPort, [.ack]).ipPacket
        let error = PacketBuilder.ethernet().ipv4(from: address("192.0.2.254"), to: Standard.main)
            .icmp(type: 3, code: 4, word: 1400).payload(quote)
        #expect(try lab.send(error) == maglev(flows[ways]))
        try expectExactCounts()
    }

    @Test("an overflow mark expires with the connections it stands for") func overflowsAreForgotten() throws {
        try forgetOverflows()
        defer { try? forgetOverflows() }
        let flows = try crowd(ways + 2)
        for flow in flows.prefix(ways + 1) { try lab.send(flow.packet([.syn])) }
        let bucket = lab.home(ofKey: try lab.key(of: flows[0])).bucket
        func mark(_ stamp: UInt16) throws {
            var overflow = ipvsd_overflow()
            withUnsafeMutableBytes(of: &overflow) {
                $0.storeBytes(of: stamp, toByteOffset: bucket % 32 * 2, as: UInt16.self)
            }
            lab.plane.maps.overflows[bucket / 32] = overflow
        }
        func stamp() throws -> UInt16 {
            let overflow = lab.plane.maps.overflows[bucket / 32]
            return withUnsafeBytes(of: overflow) { $0.load(fromByteOffset: bucket % 32 * 2, as: UInt16.self) }
        }
        #expect(try lab.now &- stamp() <= 2)
        let lifetime = lab.timeout(IPVSD_STATE_ESTABLISHED)
        try mark(lab.now &- (lifetime - 3))
        try lab.plane.sweep()
        #expect(try stamp() != 0)
        #expect(try lab.run(flows[ways + 1].packet([.ack])).moved["rederived-without-connection"] == 1)
        try mark(lab.now &- (lifetime + 1))
        #expect(try lab.run(flows[ways + 1].packet([.ack])).moved["answered-no-connection"] == 1)
        try lab.plane.sweep()
        #expect(try stamp() == 0)
    }

    @Test("half-open entries give way first") func halfOpenEntriesGiveWayFirst() throws {
        for closing in [IPVSD_STATE_TIME_WAIT, IPVSD_STATE_CLOSE] {
            try giveWay([IPVSD_STATE_ESTABLISHED, closing, IPVSD_STATE_SYN_RECV, IPVSD_STATE_UDP], [2, 1])
        }
    }

    @Test("bare ACKs and single datagrams give way last") func madeUpFlowsGiveWayLast() throws {
        try giveWay(
            [IPVSD_STATE_BARE_ACK, IPVSD_STATE_UDP, IPVSD_STATE_ONE_DATAGRAM, IPVSD_STATE_SYN_RECV], [3, 2, 0])
        try giveWay([IPVSD_STATE_BARE_ACK, IPVSD_STATE_CLOSE, IPVSD_STATE_FIN_WAIT, IPVSD_STATE_ESTABLISHED], [1, 0])
    }

    /// Fills a bucket with flows in these states, and otherwise with established flows. Newcomers take the places of
    /// `victims`, indices of flows, in this order.
    private func giveWay(_ states: [ipvsd_state], _ victims: [Int]) throws {
        defer { try? forgetOverflows() }
        lab.forgetFlows()
        let flows = try crowd(ways + 4)
        for flow in flows.prefix(ways) { try lab.send(flow.packet([.syn])) }
        for (flow, state) in zip(flows, states + [ipvsd_state](repeating: IPVSD_STATE_ESTABLISHED, count: ways - 4)) {
            try lab.force(flow, into: state)
            try lab.age(flow, by: 3)
        }
        for (turn, victim) in victims.enumerated() {
            let newcomer = flows[ways + turn]
            #expect(try lab.run(newcomer.packet([.syn])).moved == ["received": 1, "forwarded": 1, "flow-evicted": 1])
            #expect(try lab.flow(flows[victim]) == nil, "\(victim)")
            #expect(try lab.flow(newcomer) != nil)
            try expectExactCounts()
            // Otherwise this flow would be the next to give way on a slow machine.
            try lab.force(newcomer, into: IPVSD_STATE_ESTABLISHED)
        }
        for index in 0..<ways where !victims.contains(index) { #expect(try lab.flow(flows[index]) != nil) }
    }

    @Test("expired entries give way before half-open ones") func expiredEntriesGiveWayBeforeHalfOpenOnes() throws {
        let flows = try crowd(ways + 1)
        for flow in flows.prefix(ways) {
            try lab.send(flow.packet([.syn]))
            try lab.age(flow, by: 3)
        }
        try lab.force(flows[3], into: IPVSD_STATE_ESTABLISHED)
        try lab.age(flows[3], by: lab.timeout(IPVSD_STATE_ESTABLISHED) + 1)
        #expect(try lab.run(flows[ways].packet([.syn])).moved == ["received": 1, "forwarded": 1])
        #expect(try lab.flow(flows[3]) == nil)
        try expectExactCounts()
    }

    @Test("established connections never give way") func establishedConnectionsStay() throws {
        defer { try? forgetOverflows() }
        let flows = try crowd(ways + 8)
        for flow in flows.prefix(ways) {
            try lab.send(flow.packet([.syn]))
            for _ in 0..<2 { try lab.send(flow.packet([.ack])) }
            try lab.age(flow, by: lab.timeout(IPVSD_STATE_ESTABLISHED) - 10)
        }
        let before = try flows.prefix(ways).map { try lab.flow($0) }
        for flow in flows[ways...] { #expect(try lab.run(flow.packet([.syn])).moved["flow-table-full"] == 1) }
        #expect(try flows.prefix(ways).map { try lab.flow($0) } == before)
        try expectExactCounts()
    }

    /// The key of a fresh entry may not be stored yet, so the entry must not be overwritten.
    @Test("fresh entries never give way") func freshEntriesStay() throws {
        defer { try? forgetOverflows() }
        let flows = try crowd(ways + 1)
        for flow in flows.prefix(ways) { try lab.send(flow.packet([.syn])) }
        for flow in flows.prefix(ways) { try lab.age(flow, by: 0) }
        #expect(try lab.run(flows[ways].packet([.syn])).moved["flow-table-full"] == 1)
        try expectExactCounts()
    }
}
