import Addresses
import BPF
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// The sweep in parts, which together make one pass.
@MainActor
@Suite(.serialized, .needsRoot)
struct SweepTests {
    private static let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)
    private static let runs = 4
    /// The parts of a pass: the runs over the flow table, and one part for the templates.
    private static let parts = runs + 1
    private let lab: Lab

    private static func configuration(_ numbers: [UInt8] = [1, 2, 3], down: Set<UInt8> = []) -> Configuration {
        let servers = numbers.map { Standard.realServer($0) }
        return Configuration(
            services: [
                VirtualService(
                    VirtualService(address: web, scheduler: .rr, servers: servers), effective: Standard.down(down))
            ],
            paths: numbers.map { Standard.path($0) })
    }

    init() throws {
        lab = try withPinDirectory {
            try Lab(directory: $0, capacity: Capacity(connections: 16384, services: Self.configuration().services))
        }
        try #require(lab.plane.maps.flows.count == Self.runs * Int(IPVSD_SWEEP_BUCKETS))
        try lab.apply(Self.configuration())
    }

    private func flow(_ number: Int) -> FlowKey {
        FlowKey(client: Standard.client, clientPort: UInt16(1000 + number), vip: Standard.main, port: 80)
    }

    /// Sweeps one part.
    private func sweepOn() throws { try lab.plane.sweep(for: .zero) }

    @Test("parts of a sweep add up to a pass") func partsAreAPass() throws {
        let flows = (0..<2000).map(flow)
        for flow in flows { try lab.send(flow.packet([.syn])) }
        for flow in flows { try lab.age(flow, by: lab.timeout(IPVSD_STATE_SYN_RECV) + 2) }
        let began = ContinuousClock.now
        var left = [2000]
        for part in 1...Self.runs {
            #expect(!lab.plane.isSwept(since: began))
            try sweepOn()
            left.append(Int(lab.recount().values.reduce(0) { $0 + $1.active }))
            #expect(left[part] < left[part - 1])
            #expect(lab.loads() == lab.recount())
        }
        #expect(left.last == 0)
        // The last part is for the templates.
        #expect(!lab.plane.isSwept(since: began))
        try sweepOn()
        #expect(lab.plane.isSwept(since: began))
        #expect(lab.plane.maps.tableLoad[0].half_open == 0)
    }

    @Test("a pass that began earlier does not count from now on") func aPassThatHasBegunIsNotOneFromNowOn() throws {
        try sweepOn()
        let now = ContinuousClock.now
        for _ in 1..<Self.parts { try sweepOn() }
        for _ in 1...Self.parts {
            #expect(!lab.plane.isSwept(since: now))
            try sweepOn()
        }
        #expect(lab.plane.isSwept(since: now))
        // A whole pass at once replaces a pass that has begun.
        try sweepOn()
        let later = ContinuousClock.now
        try lab.plane.sweep()
        #expect(lab.plane.isSwept(since: later))
        for _ in 1..<Self.parts { try sweepOn() }
        let last = ContinuousClock.now
        for _ in 1...Self.parts { try sweepOn() }
        #expect(!lab.plane.isSwept(since: last))
    }

    @Test("rows are released after two more whole passes") func partsReleaseNothingEarly() throws {
        let gone = try lab.serverID(Self.web, Standard.server(3))
        try lab.apply(Self.configuration([1, 2]))
        for _ in 1..<(3 * Self.parts) {
            try sweepOn()
            #expect(lab.plane.serverIDs.all.contains { $0.id == Int(gone) })
        }
        try sweepOn()
        #expect(!lab.plane.serverIDs.all.contains { $0.id == Int(gone) })
    }

    /// A complete pass has freed the server's half-open connections as abandoned by then.
    @Test("a server that was down for long enough holds no half-open connection")
    func whoWasDownLongEnoughHasNothingHalfOpen() throws {
        let id = try lab.serverID(Self.web, Standard.server(1))
        func mayHold(until end: ContinuousClock.Instant) -> Bool { lab.plane.mayHoldAbandoned(server: id, until: end) }
        let never = ContinuousClock.now + .seconds(3600)
        for number in 0..<3 { try lab.send(flow(number).packet([.syn])) }
        #expect(!mayHold(until: never), "it is up")
        try lab.apply(Self.configuration(down: [1]))
        let fell = ContinuousClock.now
        #expect(mayHold(until: never))
        #expect(mayHold(until: fell))
        try lab.plane.sweep()
        #expect(!mayHold(until: fell), "this pass began later")
        #expect(mayHold(until: never), "it began before anything was abandoned")
        #expect(lab.loads()[id]?.active == 1)
        while mayHold(until: never), fell.duration(to: .now) < .seconds(30) { try sweepOn() }
        #expect(!mayHold(until: never))
        #expect(fell.duration(to: .now) > .milliseconds(1073))
        #expect(lab.loads()[id] == nil)
        #expect(lab.loads().count == 2)
        try lab.apply(Self.configuration())
        #expect(!mayHold(until: never))
        // The server goes down once more.
        try lab.apply(Self.configuration(down: [1]))
        #expect(mayHold(until: never))
    }
}
