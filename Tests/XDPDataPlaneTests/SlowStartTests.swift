import Addresses
import BPF
import DataPlane
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// Slow start and standby in the packet program.
@MainActor
@Suite(.serialized, .needsRoot)
struct SlowStartTests {
    private static let shared = Swift.Result { try Lab(Configuration(services: [], paths: [])) }
    private let lab: Lab
    private let service = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)

    init() throws {
        lab = try Self.shared.get()
        try lab.apply(Configuration(services: [], paths: []))
        lab.forgetFlows()
        try lab.plane.sweep()
    }

    private func flow(_ number: Int) -> FlowKey {
        FlowKey(
            client: IPv4Address(0x0B00_0000 + UInt32(number) &* 2_654_435 % 0x10_0000),
            clientPort: UInt16(1024 + number % 50000), vip: Standard.main, port: 80)
    }

    /// Applies servers 1 to 3 with these weights. Server 3 is in slow start, and has `tenths` tenths of its share.
    private func apply(
        _ scheduler: Scheduler, weights: [UInt16] = [2, 2, 2], tenths: Int = 10, standby: Set<UInt8> = [],
        flags: Set<SchedulerFlag> = [], persistence: Persistence? = nil
    ) throws {
        let servers = (1...3 as ClosedRange<UInt8>).map { Standard.realServer($0, weight: weights[Int($0) - 1]) }
        var desired = VirtualService(
            VirtualService(
                address: service, scheduler: scheduler, flags: flags, persistence: persistence, servers: servers),
            effective: [.v4(Standard.server(3)): .listed(weight: weights[2], tenths: tenths)], startsSlowly: true)
        for number in standby { desired.effective[.v4(Standard.server(number))] = .standby }
        try lab.apply(Configuration(services: [desired], paths: (1...3).map { Standard.path($0) }))
    }

    private func open(_ flows: Range<Int>) throws -> [IPv4Address: Int] {
        var counts: [IPv4Address: Int] = [:]
        for number in flows {
            if let server = try lab.send(flow(number).packet([.syn])) { counts[server, default: 0] += 1 }
        }
        return counts
    }

    private nonisolated static let sharing = Scheduler.allCases.filter(\.hasShares)

    /// Connections stay open, and lc and similar schedulers compare their numbers. So each step begins without
    /// connections.
    @Test("a server in slow start gets its part of connections", arguments: sharing, [1, 3, 5, 9, 10])
    func theShareIsThePart(_ scheduler: Scheduler, tenths: Int) throws {
        // Schedulers that ignore weights get unequal weights, which must not matter.
        let weights: [UInt16] = scheduler.ignoresWeights ? [7, 1, 3] : [2, 2, 2]
        try apply(scheduler, weights: weights, tenths: tenths)
        let counts = try open(0..<2100)
        #expect(counts.values.reduce(0, +) == 2100)
        let share = Double(counts[Standard.server(3)] ?? 0) / 2100
        // sh gives the withheld buckets to the servers that would have them without server 3.
        let expected = scheduler == .sh ? Double(tenths) / 30 : Double(tenths) / Double(20 + tenths)
        let tolerance = [.sh, .mh].contains(scheduler) ? 0.05 : 0.01
        #expect(abs(share - expected) < tolerance, "\(share), expected \(expected)")
        // The other two servers get equal parts.
        let others = (counts[Standard.server(1)] ?? 0) - (counts[Standard.server(2)] ?? 0)
        #expect(abs(others) < ([.sh, .mh].contains(scheduler) ? 250 : 25), "\(counts)")
    }

    @Test("each step of a slow start moves clients only to its server", arguments: [Scheduler.sh, .mh])
    func hashesMoveClientsOnlyToTheSlowStarter(_ scheduler: Scheduler) throws {
        var before: [Int: IPv4Address] = [:]
        var moved = 0
        for tenths in 1...10 {
            lab.forgetFlows()
            try apply(scheduler, tenths: tenths, flags: scheduler == .sh ? [.shPort] : [.mhPort])
            for number in 0..<500 {
                let server = try #require(try lab.send(flow(number).packet([.syn])))
                if let old = before[number], old != server, server != Standard.server(3) { moved += 1 }
                before[number] = server
            }
        }
        // A Maglev table moves a few other clients, when the newcomer takes slots that its servers would have taken.
        #expect(moved <= (scheduler == .sh ? 0 : 75), "\(moved) of 4,500")
    }

    @Test("connections stay during a slow start", arguments: sharing)
    func connectionsStayWhileTheShareGrows(_ scheduler: Scheduler) throws {
        try apply(scheduler, tenths: 1)
        var servers: [Int: IPv4Address] = [:]
        for number in 0..<200 { servers[number] = try lab.send(flow(number).packet([.syn])) }
        for tenths in 2...10 {
            try apply(scheduler, tenths: tenths)
            for number in 0..<200 { #expect(try lab.send(flow(number).packet([.ack])) == servers[number]) }
        }
    }

    @Test("a scheduler without shares ignores slow start", arguments: Scheduler.allCases.filter { !$0.hasShares })
    func whoHasNoSharesDoesNotWait(_ scheduler: Scheduler) throws {
        func rows() -> [UInt16] {
            (1...3).compactMap { lab.plane.serverID(service: service, server: Standard.server($0)) }
                .map { lab.plane.maps.servers[Int($0)].weight }
        }
        try apply(scheduler, weights: [1, 2, 3], tenths: 1)
        #expect(rows() == [1, 2, 3])
        let slow = try open(0..<20)
        lab.forgetFlows()
        try lab.apply(Configuration(services: [], paths: []))
        try apply(scheduler, weights: [1, 2, 3], tenths: 10)
        #expect(try open(0..<20) == slow)
    }

    /// The largest weights cannot be multiplied, and are fine enough without that.
    @Test("the largest weights still have parts") func largeWeightsStillHaveParts() throws {
        try apply(.wrr, weights: [65535, 65535, 65535], tenths: 1)
        let ids = (1...3).compactMap { lab.plane.serverID(service: service, server: Standard.server($0)) }
        #expect(ids.map { lab.plane.maps.servers[Int($0)].weight } == [65535, 65535, 6553])
        try apply(.wrr, weights: [1, 65535, 0], tenths: 1)
        #expect(ids.map { lab.plane.maps.servers[Int($0)].weight } == [1, 65535, 0])
    }

    @Test("a failed take-over leaves slow starts unchanged", arguments: sharing)
    func goingBackKeepsSlowStarts(_ scheduler: Scheduler) throws {
        let weights: [UInt16] = scheduler.ignoresWeights ? [7, 1, 3] : [2, 2, 2]
        try apply(scheduler, weights: weights, tenths: 3)
        let found = try lab.plane.snapshot()
        let index = try #require(lab.plane.services[service])
        let kind = lab.plane.maps.services[index].schedule >> 56
        try apply(scheduler, weights: weights, tenths: 10)
        try lab.plane.apply(found.services.map(VirtualService.init))
        let now = try lab.plane.snapshot()
        #expect(now.services[0].servers.filter { $0.tenths == 3 }.map(\.address.ipv4) == [Standard.server(3)])
        #expect(now.services[0].servers.map(\.effective) == found.services[0].servers.map(\.effective))
        #expect(lab.plane.maps.services[index].schedule >> 56 == kind)
        let counts = try open(0..<2100)
        let share = Double(counts[Standard.server(3)] ?? 0) / 2100
        #expect(abs(share - (scheduler == .sh ? 0.1 : 3.0 / 23)) < ([.sh, .mh].contains(scheduler) ? 0.05 : 0.01))
    }

    // MARK: Standby

    @Test("a server in standby keeps its connections and gets no new ones", arguments: Scheduler.allCases)
    func standbyServersGetNothingNewAndKeepWhatTheyHave(_ scheduler: Scheduler) throws {
        // The weights are large, as ovf gives a server no more connections than its weight.
        let weights: [UInt16] = [500, 500, 500]
        try apply(scheduler, weights: weights)
        var servers: [Int: IPv4Address] = [:]
        for number in 0..<60 {
            servers[number] = try lab.send(flow(number).packet([.syn]))
            _ = try lab.send(flow(number).packet([.ack]))
        }
        try apply(scheduler, weights: weights, standby: [1, 2])
        for number in 0..<60 { #expect(try lab.send(flow(number).packet([.ack])) == servers[number]) }
        let counts = try open(1000..<1200)
        #expect(counts == [Standard.server(3): 200], "\(counts)")
        // A server in standby keeps its row, with or without connections.
        lab.forgetFlows()
        let id = lab.plane.serverID(service: service, server: Standard.server(1))
        for _ in 0..<4 { try lab.plane.sweep() }
        #expect(lab.plane.serverID(service: service, server: Standard.server(1)) == id)
        #expect(lab.plane.path(to: Standard.server(1)) != nil)
        try apply(scheduler, weights: weights, standby: [3])
        #expect(try open(2000..<2200)[Standard.server(3)] == nil)
    }

    @Test("persistent clients leave a server in standby") func persistentClientsLeaveAServerOnStandby() throws {
        let persistence = Persistence(timeout: 300)
        try apply(.rr, standby: [2, 3], persistence: persistence)
        #expect(try lab.send(flow(1).packet([.syn])) == Standard.server(1))
        try apply(.rr, persistence: persistence)
        var again = flow(1)
        again.clientPort += 1
        #expect(try lab.send(again.packet([.syn])) == Standard.server(1))
        try apply(.rr, standby: [1, 3], persistence: persistence)
        again.clientPort += 1
        #expect(try lab.send(again.packet([.syn])) == Standard.server(2))
    }

    @Test("a snapshot shows standby") func snapshotsKnowStandby() throws {
        try apply(.wlc, standby: [2])
        let snapshot = try lab.plane.snapshot()
        let servers = try #require(snapshot.services.first).servers.sorted { $0.address < $1.address }
        #expect(servers.map(\.isStandby) == [false, true, false] && servers.allSatisfy { !$0.isRemoved })
        // A director that applies the restored services makes the server standby again.
        try lab.plane.apply(snapshot.services.map(VirtualService.init))
        #expect(try open(0..<20)[Standard.server(2)] == nil)
    }
}
