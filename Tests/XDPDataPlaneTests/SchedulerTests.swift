import Addresses
import BPF
import DataPlane
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// The packet program's choices, compared with the schedulers in TestSupport.
@MainActor
@Suite(.serialized, .needsRoot)
struct SchedulerTests {
    private static let shared = Swift.Result { try Lab(Configuration(services: [], paths: [])) }
    private let lab: Lab
    private let service = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)

    init() throws {
        lab = try Self.shared.get()
        lab.stretchTimeouts()
        // Each test begins with services that have no history.
        try lab.apply(Configuration(services: [], paths: []))
        lab.forgetFlows()
        try lab.plane.sweep()
    }

    /// Applies a service whose real servers have these weights, by their numbers. `order` is the order of the servers.
    private func apply(_ scheduler: Scheduler, _ weights: [UInt8: UInt16], order: [UInt8]? = nil) throws {
        let numbers = order ?? weights.keys.sorted()
        try lab.apply(
            Configuration(
                services: [
                    VirtualService(
                        address: service, scheduler: scheduler,
                        servers: numbers.map { Standard.realServer($0, weight: weights[$0] ?? 0) })
                ], paths: numbers.map { Standard.path($0) }))
    }

    private func flow(_ number: Int) -> FlowKey {
        FlowKey(
            client: IPv4Address(0x0B00_0000 + UInt32(number) &* 2_654_435 % 0x10_0000),
            clientPort: UInt16(1024 + number % 50000), vip: Standard.main, port: 80)
    }

    private func number(_ server: IPv4Address?) throws -> UInt8 {
        UInt8(truncatingIfNeeded: try #require(server).value)
    }

    // MARK: rr and wrr

    nonisolated private static let weights: [[UInt8: UInt16]] = [
        [1: 1], [1: 1, 2: 1, 3: 1], [1: 4, 2: 3, 3: 2], [1: 10, 2: 20, 3: 30, 4: 0, 5: 10],
        [1: 65535, 2: 1, 3: 32768], [1: 0, 2: 7],
    ]

    @Test("a ring gives each server its turns", arguments: [Scheduler.rr, .wrr], weights)
    func ring(_ scheduler: Scheduler, _ weights: [UInt8: UInt16]) throws {
        try apply(scheduler, weights)
        let numbers = weights.keys.sorted()
        let values = numbers.map { Int(weights[$0] ?? 0) }
        let ring =
            scheduler == .rr ? WeightedRoundRobin.evenRing(weights: values) : WeightedRoundRobin.ring(weights: values)
        for turn in 0..<min(3 * ring.count + 1, 5000) {
            let server = try number(try lab.send(flow(turn).packet([.syn])))
            try #require(server == numbers[ring[turn % ring.count]], "turn \(turn)")
        }
    }

    @Test("no server is chosen where every weight is 0") func everyWeightZero() throws {
        for scheduler in Scheduler.allCases {
            try apply(scheduler, [1: 0, 2: 0])
            #expect(try lab.run(flow(0).packet([.syn])).moved == ["received": 1, "answered-no-server": 1])
        }
    }

    @Test("only new flows take a turn") func onlyNewFlowsTakeATurn() throws {
        try apply(.rr, [1: 1, 2: 1, 3: 1])
        for turn in 0..<30 {
            #expect(try number(try lab.send(flow(turn).packet([.syn]))) == UInt8(turn % 3 + 1))
            for _ in 0..<turn { try lab.send(flow(turn).packet([.ack])) }
            #expect(try lab.send(flow(1000 + turn).packet([.ack])) == nil)
        }
    }

    // MARK: the schedulers that look at connections

    private static let listWeights: [UInt8: UInt16] = [1: 1, 2: 3, 3: 2, 4: 0, 5: 7, 6: 1]

    /// Connections open, complete, close and expire at random. The counts are compared with the model's.
    @Test(
        "schedulers that compare connections choose as their model",
        arguments: [Scheduler.lc, .wlc, .sed, .nq, .ovf, .twos])
    func byConnections(_ scheduler: Scheduler) throws {
        var weights = Self.listWeights
        try apply(scheduler, weights)
        var random = SplitMix(seed: 7)
        var model: [UInt8: Lab.Load] = [:]
        var open: [(flow: FlowKey, server: UInt8, state: ipvsd_state)] = []
        for step in 0..<2000 {
            if Int.random(in: 0..<100, using: &random) < 55 || open.isEmpty {
                let numbers = weights.keys.sorted()
                let loads = numbers.map {
                    LeastConnections.Load(
                        active: UInt32(model[$0]?.active ?? 0), inactive: UInt32(model[$0]?.inactive ?? 0),
                        weight: weights[$0] ?? 0)
                }
                let chosen = try choice(scheduler, loads)
                let sent = try lab.send(flow(step).packet([.syn]))
                guard let chosen else {
                    try #require(scheduler == .ovf && sent == nil, "step \(step): \(loads)")
                    continue
                }
                let server = try number(sent)
                try #require(server == numbers[chosen], "step \(step): \(loads)")
                open.append((flow(step), server, IPVSD_STATE_SYN_RECV))
                model[server, default: Lab.Load()].count(IPVSD_STATE_SYN_RECV, 1)
            } else {
                let index = Int.random(in: open.indices, using: &random)
                let (flow, server, state) = open[index]
                let (flags, next): (PacketBuilder.TCPFlags, ipvsd_state) =
                    switch (Int.random(in: 0..<3, using: &random), state) {
                    case (0, IPVSD_STATE_SYN_RECV): ([.ack], IPVSD_STATE_BARE_ACK)
                    case (1, IPVSD_STATE_BARE_ACK): ([.fin, .ack], IPVSD_STATE_FIN_WAIT)
                    case (_, IPVSD_STATE_SYN_RECV): ([.fin], IPVSD_STATE_TIME_WAIT)
                    default: ([.rst], IPVSD_STATE_CLOSE)
                    }
                try #require(try number(try lab.send(flow.packet(flags))) == server)
                model[server]?.count(state, -1)
                model[server]?.count(next, 1)
                open[index].state = next
            }
            if step % 250 == 249 {
                try expire(&open, &model)
                if step % 500 == 499 {
                    // A server leaves, weights change, and the server comes back.
                    weights = step % 1000 == 499 ? [1: 2, 2: 3, 3: 1, 4: 5, 5: 1] : Self.listWeights
                    try apply(scheduler, weights)
                }
            }
        }
        #expect(lab.loads() == lab.recount())
    }

    private func choice(_ scheduler: Scheduler, _ loads: [LeastConnections.Load]) throws -> Int? {
        switch scheduler {
        case .sed: return LeastConnections.shortestExpectedDelay(loads)
        case .nq: return LeastConnections.neverQueue(loads)
        case .ovf: return LeastConnections.overflow(loads)
        case .twos:
            let index = try #require(try lab.plane.snapshot().services.first).index
            var draw = lab.plane.maps.services[Int(index)].cursor + 1
            for _ in 0..<2 {
                draw ^= draw >> 32
                draw &*= 0xD6E8_FEB8_6659_FD93
            }
            draw ^= draw >> 32
            return LeastConnections.twoChoices(
                loads, ring: WeightedRoundRobin.ring(weights: loads.map { Int($0.weight) }), draw: draw)
        default: return LeastConnections.choose(loads, weighted: scheduler == .wlc)
        }
    }

    /// Expires every second connection that is inactive.
    private func expire(
        _ open: inout [(flow: FlowKey, server: UInt8, state: ipvsd_state)], _ model: inout [UInt8: Lab.Load]
    ) throws {
        var left: [(flow: FlowKey, server: UInt8, state: ipvsd_state)] = []
        for (index, entry) in open.enumerated() {
            guard !entry.state.isActive, index % 2 == 0 else {
                left.append(entry)
                continue
            }
            try lab.age(entry.flow, by: lab.timeout(entry.state) + 1)
            model[entry.server]?.count(entry.state, -1)
        }
        open = left
        try lab.plane.sweep()
        var seen: [UInt8: Lab.Load] = [:]
        for server in try #require(try lab.plane.snapshot().services.first).servers {
            seen[try number(server.address.ipv4)] = Lab.Load(
                active: Int32(server.active), inactive: Int32(server.inactive))
        }
        #expect(seen.filter { $0.value != Lab.Load() } == model.filter { $0.value != Lab.Load() })
    }

    @Test("lc gives each server of the longest list one connection before two") func theLongestList() throws {
        let count = XDPDataPlane.maximumServersOfAService
        let addresses = (0..<UInt32(count)).map { IPv4Address(0x0A01_0000 + $0) }
        try lab.apply(
            Configuration(
                services: [
                    VirtualService(
                        address: service, scheduler: .lc, servers: addresses.map { RealServer(address: $0) })
                ], paths: addresses.map { address in Standard.path(1) { $0.destination = address } }))
        for turn in 0..<(count + 3) {
            try #require(try lab.send(flow(turn).packet([.syn])) == addresses[turn % count], "turn \(turn)")
        }
    }

    /// The servers' loads, weights and thresholds are random.
    @Test(
        "a scheduler chooses the right one of a thousand servers",
        arguments: [Scheduler.lc, .wlc, .sed, .nq, .ovf, .fo])
    func oneOfAThousand(_ scheduler: Scheduler) throws {
        var random = SplitMix(seed: 11)
        let addresses = (0..<1000).map { IPv4Address(0x0A01_0000 + UInt32($0)) }
        let servers = addresses.map {
            RealServer(
                address: $0, weight: UInt16.random(in: 0...100, using: &random),
                thresholds: Bool.random(using: &random) ? ConnectionThresholds(upper: 60) : nil)
        }
        try lab.apply(
            Configuration(
                services: [
                    VirtualService(address: service, scheduler: scheduler, maglevSize: 1009, servers: servers)
                ],
                paths: addresses.map { address in Standard.path(1) { $0.destination = address } }))
        let ids = try addresses.map { Int(try lab.serverID(service, $0)) }
        for turn in 0..<50 {
            let loads = servers.indices.map { index in
                var load = ipvsd_conn_counts()
                load.active = UInt32.random(in: 1...80, using: &random)
                load.inactive = UInt32.random(in: 0...80, using: &random)
                lab.plane.maps.connectionCounts[ids[index]] = load
                let (weight, connections) = (servers[index].weight, load.active + load.inactive)
                // An earlier choice may have set `overloaded`, which stays until the server is below its lower
                // threshold.
                lab.plane.maps.servers[ids[index]].overloaded = 0
                return LeastConnections.Load(
                    active: load.active, inactive: load.inactive, weight: weight,
                    isOverloaded: servers[index].thresholds?.areExceeded(by: connections, wasOverloaded: false) ?? false
                )
            }
            let expected =
                scheduler == .fo
                ? Failover.order(weights: loads.map { Int($0.weight) }).first { loads[$0].isAvailable }
                : try choice(scheduler, loads)
            try #require(try lab.send(flow(turn).packet([.syn])) == expected.map { addresses[$0] }, "turn \(turn)")
        }
    }

    // MARK: the schedulers that look at addresses

    @Test(
        "sh chooses by the hash of the client",
        arguments: [[], [.shPort], [.shFallback], [.shPort, .shFallback]] as [Set<SchedulerFlag>])
    func sourceHashing(_ flags: Set<SchedulerFlag>) throws {
        let weights: [UInt16] = [1, 3, 0, 40, 2]
        try lab.apply(
            Configuration(
                services: [
                    VirtualService(
                        address: service, scheduler: .sh, flags: flags,
                        servers: weights.enumerated().map { Standard.realServer(UInt8($0 + 1), weight: $1) })
                ], paths: weights.indices.map { Standard.path(UInt8($0 + 1)) }))
        let buckets = SourceHash.buckets(weights: weights.map(Int.init))
        for index in 0..<2000 {
            let flow = flow(index)
            let bucket = SourceHash.bucket(client: flow.client, port: flags.contains(.shPort) ? flow.clientPort : 0)
            let chosen = SourceHash.server(ofBucket: bucket, in: buckets, fallback: flags.contains(.shFallback)) {
                weights[$0] > 0
            }
            #expect((chosen == nil) == (!flags.contains(.shFallback) && buckets[bucket] == 2))
            let expected = chosen.map { Standard.server(UInt8($0 + 1)) }
            try #require(try lab.send(flow.packet([.syn])) == expected, "client \(flow.client):\(flow.clientPort)")
        }
    }

    @Test("dh keeps to one server, and fo to the heaviest") func destinationHashingIsOneServerAndFailoverTheHeaviest()
        throws
    {
        let weights: [UInt8: UInt16] = [1: 1, 2: 5, 3: 2, 4: 5]
        let numbers = weights.keys.sorted()
        let ofVIP = try #require(
            SourceHash.server(ofVIP: .v4(Standard.main), weights: numbers.map { Int(weights[$0] ?? 0) }))
        for (scheduler, expected) in [(Scheduler.dh, numbers[ofVIP]), (.fo, 2)] {
            lab.forgetFlows()
            try apply(scheduler, weights)
            for index in 0..<20 { try #require(try number(try lab.send(flow(index).packet([.syn]))) == expected) }
        }
        lab.forgetFlows()
        try apply(.fo, [1: 1, 2: 0, 3: 2, 4: 0])
        #expect(try number(try lab.send(flow(99).packet([.syn]))) == 3)
    }

    // MARK: mh

    private func maglev(_ client: IPv4Address, _ weights: [UInt8: UInt16]) throws -> UInt8 {
        let numbers = weights.keys.sorted()
        let size = MaglevTable.size(forServers: numbers.count, minimum: 4093)
        let table = MaglevTable.build(
            members: numbers.map { (UInt64(Standard.server($0).value), Int(weights[$0] ?? 0)) }, size: size)
        return numbers[Int(table[MaglevTable.slot(of: MaglevTable.hash(client: client, port: 0), size: size)])]
    }

    @Test("mh chooses by the Maglev hash of the client") func maglevByClient() throws {
        let weights: [UInt8: UInt16] = [1: 1, 2: 3, 3: 0, 4: 10]
        let numbers = weights.keys.sorted()
        // The servers are in another order, which must not matter.
        try apply(.mh, weights, order: numbers.reversed())
        let size = MaglevTable.size(forServers: numbers.count, minimum: 4093)
        let table = MaglevTable.build(
            members: numbers.map { (UInt64(Standard.server($0).value), Int(weights[$0] ?? 0)) }, size: size)
        for index in 0..<2000 {
            let flow = flow(index)
            let slot = MaglevTable.slot(of: MaglevTable.hash(client: flow.client, port: 0), size: size)
            try #require(
                try number(try lab.send(flow.packet([.syn]))) == numbers[Int(table[slot])], "client \(flow.client)")
        }
        // Another director has no entries of the connections.
        lab.forgetFlows()
        for index in 0..<200 {
            let outcome = try lab.run(flow(index).packet([.ack]))
            #expect(outcome.moved["rederived-without-connection"] == 1)
            #expect(try number(IPv4Address(word32(outcome.packet, 30))) == (try maglev(flow(index).client, weights)))
        }
    }

    // MARK: Changes

    @Test("flows stay through every change", arguments: Scheduler.allCases)
    func flowsStayThroughEveryChange(_ scheduler: Scheduler) throws {
        var homes: [FlowKey: UInt8] = [:]
        let steps: [[UInt8: UInt16]] = [
            [1: 1, 2: 2, 3: 3], [1: 9, 2: 2, 3: 3], [1: 0, 2: 2, 3: 3], [2: 1, 3: 1], [4: 1], [1: 5, 2: 0, 3: 1, 4: 2],
        ]
        for (step, weights) in steps.enumerated() {
            try apply(scheduler, weights)
            try lab.plane.sweep()
            for (flow, home) in homes { #expect(try number(try lab.send(flow.packet([.ack]))) == home) }
            for index in 0..<40 {
                let flow = flow(100 * step + index)
                guard let address = try lab.send(flow.packet([.syn])) else {
                    // As in IPVS, sh and dh refuse if the hash names a server of weight 0, and ovf if all servers are
                    // full.
                    try #require([.sh, .dh, .ovf].contains(scheduler))
                    continue
                }
                let server = try number(address)
                #expect((weights[server] ?? 0) > 0)
                homes[flow] = server
            }
        }
        #expect(Set(homes.values).count == 4 || [.dh, .fo].contains(scheduler))
        #expect(homes.count >= 20)
        #expect(lab.loads() == lab.recount())

        // When the flows end, the rows of removed servers are released, and other rows stay.
        try apply(scheduler, [4: 1])
        for (flow, _) in homes {
            let state = try #require(try lab.flow(flow)).state
            try lab.age(flow, by: lab.timeout(state) + 1)
        }
        // The first sweep frees the flows. Two more sweeps without new flows free the rows.
        for _ in 0..<2 { try lab.plane.sweep() }
        #expect(try lab.plane.snapshot().services.first?.servers.count ?? 0 > 1 || scheduler == .dh)
        try lab.plane.sweep()
        #expect(try lab.plane.snapshot().services.map { $0.servers.map(\.address.ipv4) } == [[Standard.server(4)]])
        #expect(lab.loads().isEmpty)
    }

    @Test("a change of the scheduler keeps flows") func changingTheSchedulerKeepsFlows() throws {
        try apply(.rr, [1: 1, 2: 1, 3: 1])
        let homes = try (0..<30).map { try number(try lab.send(flow($0).packet([.syn]))) }
        for scheduler in Scheduler.allCases {
            try apply(scheduler, [1: 1, 2: 1, 3: 1])
            #expect(try lab.plane.snapshot().services.map(\.configured.scheduler) == [scheduler])
            for (index, home) in homes.enumerated() {
                #expect(try number(try lab.send(flow(index).packet([.ack]))) == home)
            }
        }
    }
}
