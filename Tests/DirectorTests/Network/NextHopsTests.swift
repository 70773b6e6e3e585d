import Addresses
import DataPlane
import Foundation
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director
@testable import HostState

/// The look-ups of routes with their log lines, and the probes of path MTUs.
struct NextHopsTests {
    private let network = MemoryNetwork()
    private let plane: MemoryDataPlane
    private let journal: ChangeJournal
    private let configuration = DirectorLab.configuration()
    private let first = DirectorLab.servers[0]
    private let second = DirectorLab.servers[1]
    private let start = ContinuousClock.now

    init() throws {
        plane = MemoryDataPlane(network: network, clock: ManualClock())
        journal = try ChangeJournal(path: NSTemporaryDirectory() + "/next-hops-\(UUID().uuidString)/journal")
    }

    private func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    /// Looks up the routes of at most `limit` real servers. Returns the log lines, each with its level.
    private func follow(
        _ hops: inout NextHops, atMost limit: Int = .max, for configuration: DirectorConfiguration? = nil,
        second: Int = 0
    ) -> [String] {
        hops.updateAll(
            atMost: limit, for: configuration ?? self.configuration, on: plane, journal: journal, at: at(second)
        ).lines.map { "\($0.level) \($0.text)" }
    }

    // MARK: Routes

    @Test("a route that goes and comes is logged once each time, and the data plane follows")
    func routeGoesAndComes() {
        var hops = NextHops(network: network)
        #expect(hops.reasonOfNoWay(to: first) == "no way to \(first) is known yet")
        #expect(follow(&hops).isEmpty)
        #expect(plane.route(to: first)?.server == first)
        network.setRoute(nil, to: first)
        #expect(follow(&hops) == ["warning no way to \(first): no route to \(first)"])
        #expect(plane.route(to: first) == nil)
        #expect(plane.route(to: second) != nil)
        #expect(hops.reasonOfNoWay(to: first) == "no route to \(first)")
        #expect(follow(&hops).isEmpty)
        network.setRoute(MemoryNetwork.route(), to: first)
        #expect(follow(&hops) == ["notice \(first) is reachable again"])
        #expect(plane.route(to: first)?.server == first)
        #expect(follow(&hops).isEmpty)
    }

    @Test("a next hop that the data plane refuses is logged for each reason")
    func refusedNextHop() {
        var hops = NextHops(network: network)
        plane.refuseRoutes([first: "lo carries no tunnels"])
        #expect(follow(&hops) == ["warning no way to \(first): lo carries no tunnels"])
        #expect(plane.route(to: first) == nil)
        #expect(follow(&hops).isEmpty)
        plane.refuseRoutes([first: "bond0 has no member"])
        #expect(follow(&hops) == ["warning no way to \(first): bond0 has no member"])
        #expect(hops.reasonOfNoWay(to: first) == "bond0 has no member")
        plane.refuseRoutes([:])
        #expect(follow(&hops) == ["notice \(first) is reachable again"])
    }

    @Test("a failed look-up keeps the next hop, and keeps no other route from being followed")
    func failedLookup() {
        var hops = NextHops(network: network)
        #expect(follow(&hops).isEmpty)
        network.failLookups(of: [first])
        network.setRoute(MemoryNetwork.route(mtu: 1400), to: second)
        #expect(follow(&hops) == ["error follow the route to \(first): no buffer space"])
        #expect(plane.route(to: first)?.mtu == 1500)
        #expect(plane.route(to: second)?.mtu == 1400)
        #expect(follow(&hops, second: 599).isEmpty)
        #expect(follow(&hops, second: 600) == ["error follow the route to \(first): no buffer space"])
        network.failLookups(of: [])
        #expect(follow(&hops, second: 601) == ["notice follow the route to \(first): no error any more"])
    }

    @Test("thousands of real servers are looked up in turn, and a new one before any has its second turn")
    func turnOrder() {
        var hops = NextHops(network: network)
        let servers = (0..<2500).map { IPAddress(0x0A01_0000 + 2 * $0) }
        func configuration(_ servers: [IPAddress]) -> DirectorConfiguration {
            DirectorLab.configuration(servers: servers.map { RealServer(address: $0) })
        }
        let all = configuration(servers)
        for _ in 0..<10 { _ = follow(&hops, atMost: 100, for: all) }
        #expect(servers.filter { network.lookups(of: $0) == 1 } == Array(servers.prefix(1000)))
        let new = IPAddress(0x0A01_0000 + 2 * 1500 + 1)
        let more = configuration(servers + [new])
        for _ in 0..<15 { _ = follow(&hops, atMost: 100, for: more) }
        #expect(servers.dropLast().allSatisfy { network.lookups(of: $0) == 1 })
        #expect(network.lookups(of: new) == 1)
        #expect(servers.last.map(network.lookups) == 0)
        // The order of turns starts again.
        _ = follow(&hops, atMost: 100, for: more)
        #expect(servers.last.map(network.lookups) == 1)
        #expect(servers.filter { network.lookups(of: $0) == 2 } == Array(servers.prefix(99)))
        // Removed real servers have no turn.
        _ = follow(&hops, atMost: 1, for: configuration(Array(servers.dropFirst(2000))))
        #expect(network.lookups(of: servers[2000]) == 2)
    }

    @Test("few real servers, and removed ones whose connections go on, are looked up each time")
    func removedServers() throws {
        var hops = NextHops(network: network)
        try plane.apply([configuration.services[0].forwarding])
        let left = DirectorLab.configuration(servers: [RealServer(address: first)])
        #expect(follow(&hops, atMost: 2, for: left).isEmpty)
        #expect(plane.route(to: second) != nil)
        network.setRoute(nil, to: second)
        #expect(follow(&hops, atMost: 2, for: left) == ["warning no way to \(second): no route to \(second)"])
        hops.forget(except: [first], at: start)
        #expect(hops.reasonOfNoWay(to: second) == "no way to \(second) is known yet")
    }

    @Test("no tunnel leaves from a VIP, and a service with every port has no local node")
    func waysThatAreRefused() {
        var hops = NextHops(network: network)
        network.setRoute(MemoryNetwork.route(source: DirectorLab.vip), to: first)
        let start = "the kernel chooses \(DirectorLab.vip), a VIP, as the source of packets to \(first)"
        #expect(follow(&hops).map { $0.hasPrefix("warning no way to \(first): \(start)") } == [true])
        let any = DirectorConfiguration(
            services: [
                ConfiguredService(
                    VirtualService(
                        address: ServiceAddress(vip: DirectorLab.vip), scheduler: .wlc,
                        servers: [RealServer(address: second)]))
            ], managesAddress: false)
        network.makeLocal([second])
        #expect(follow(&hops).isEmpty)
        #expect(plane.route(to: second)?.isLocal == true)
        let lines = follow(&hops, for: any)
        #expect(lines.map { $0.hasPrefix("warning no way to \(second): \(second) is this director") } == [true])
        #expect(plane.route(to: second) == nil)
    }

    @Test("a next hop that has not answered is not resolved")
    func resolution() {
        let hops = NextHops(network: network)
        #expect(hops.areResolved([first, second], journal: journal))
        network.silence(second)
        #expect(!hops.areResolved([first, second], journal: journal))
        #expect(hops.areResolved([first], journal: journal))
        network.setRoute(nil, to: second)
        #expect(hops.areResolved([first, second], journal: journal), "there is nothing to wait for")
    }

    @Test("a local node is checked at a VIP that the machine has, which is looked up once until routes are followed")
    func localDestination() {
        var hops = NextHops(network: network)
        let vip = DirectorLab.vip
        network.makeLocal([vip])
        network.failLookups(of: [vip])
        #expect(hops.localDestination(vip: vip, server: first) == first)
        network.failLookups(of: [])
        #expect(hops.localDestination(vip: vip, server: first) == vip)
        network.makeLocal([])
        #expect(hops.localDestination(vip: vip, server: first) == vip)
        #expect(network.lookups(of: vip) == 2)
        #expect(follow(&hops).isEmpty)
        #expect(hops.localDestination(vip: vip, server: first) == first)
    }

    // MARK: Path MTUs

    private func message(_ damage: (inout FragmentationNeeded) -> Void = { _ in }) -> FragmentationNeeded {
        var message = FragmentationNeeded(
            router: MemoryNetwork.router, source: MemoryNetwork.own, destination: first, length: 1500, mtu: 1400)
        damage(&message)
        return message
    }

    private func begin(
        _ hops: inout NextHops, _ message: FragmentationNeeded, second: Int = 0
    ) throws -> UInt32? {
        try hops.beginProbe(for: message, of: configuration, on: plane, at: at(second))
    }

    private func end(_ hops: inout NextHops, passing: Int?, second: Int = 0) -> (isLearnt: Bool, lines: [String]) {
        let verdict = CheckVerdict.failed(.init(stage: .answer, reason: "timed out", pathMTU: passing))
        let learning = hops.endProbe(for: message(), size: 1500, present: 1500, verdict, at: at(second))
        return (learning.isLearnt, learning.findings.lines.map { "\($0.level) \($0.text)" })
    }

    @Test("a path MTU that a probe confirms is in force for ten minutes")
    func learntPathMTU() throws {
        var hops = NextHops(network: network)
        network.setRoute(MemoryNetwork.route(), to: first)
        #expect(follow(&hops).isEmpty)
        #expect(try begin(&hops, message()) == 1500)
        #expect(try begin(&hops, message()) == nil, "the path is being probed")
        let (isLearnt, lines) = end(&hops, passing: 1400)
        #expect(isLearnt)
        let text = "the path MTU to \(first) is 1400: larger packets do not pass, as \(MemoryNetwork.router) says"
        #expect(lines == ["notice \(text)"])
        #expect(follow(&hops, second: 1).isEmpty)
        #expect(plane.route(to: first)?.mtu == 1400)
        #expect(plane.route(to: second)?.mtu == 1500)
        hops.forget(except: [first], at: at(2))
        #expect(follow(&hops, second: 599).isEmpty)
        #expect(plane.route(to: first)?.mtu == 1400)
        #expect(follow(&hops, second: 600).isEmpty)
        #expect(plane.route(to: first)?.mtu == 1500)
    }

    @Test("the path MTU of a removed real server is forgotten")
    func forgottenPathMTU() throws {
        var hops = NextHops(network: network)
        network.setRoute(MemoryNetwork.route(), to: first)
        #expect(follow(&hops).isEmpty)
        #expect(try begin(&hops, message()) == 1500)
        #expect(end(&hops, passing: 1400).isLearnt)
        hops.forget(except: [second], at: at(1))
        #expect(follow(&hops, second: 2).isEmpty)
        #expect(plane.route(to: first)?.mtu == 1500)
    }

    @Test("a message about a packet that the director cannot have sent starts no probe")
    func foreignMessages() throws {
        var hops = NextHops(network: network)
        network.setRoute(MemoryNetwork.route(), to: first)
        #expect(try begin(&hops, message()) == nil, "no route is known yet")
        #expect(follow(&hops).isEmpty)
        let damages: [(inout FragmentationNeeded) -> Void] = [
            { $0.source = IPAddress(0x0A00_0003) }, { $0.destination = IPAddress(0x0A00_0033) },
            { $0.innerDestination = IPAddress(0x0A00_0065) }, { $0.mtu = 1500 }, { $0.content = .other },
        ]
        for (index, damage) in damages.enumerated() {
            #expect(try begin(&hops, message(damage)) == nil, "number \(index)")
        }
        let ends = FlowEnds(
            transport: .tcp, client: IPAddress(0xC000_0207), clientPort: 32768, vip: DirectorLab.vip, port: 80)
        plane.forgetFlows()
        #expect(try begin(&hops, message { $0.content = .flow(ends) }) == nil, "no such flow is recorded")
        #expect(try begin(&hops, message()) == 1500, "the ignored messages do not delay this probe")
    }

    @Test("a path without routers, or with a failed look-up, has no probe for two seconds")
    func unroutedPaths() throws {
        var hops = NextHops(network: network)
        #expect(follow(&hops).isEmpty)
        #expect(try begin(&hops, message()) == nil)
        network.setRoute(MemoryNetwork.route(), to: first)
        #expect(try begin(&hops, message(), second: 1) == nil)
        network.failLookups(of: [first])
        #expect(throws: MemoryNetwork.Refusal.self) { try begin(&hops, message(), second: 2) }
        network.failLookups(of: [])
        #expect(try begin(&hops, message(), second: 3) == nil)
        #expect(try begin(&hops, message(), second: 4) == 1500)
    }

    @Test("an unconfirmed message is logged once in ten minutes, and the prober's own failure is not")
    func contradictedRouters() {
        var hops = NextHops(network: network)
        let own = CheckVerdict.failed(.init(stage: .start, reason: "no socket", isOwn: true))
        let learning = hops.endProbe(for: message(), size: 1500, present: 1500, own, at: start)
        #expect(!learning.isLearnt)
        #expect(learning.findings.lines.isEmpty)
        let claim = "warning \(MemoryNetwork.router) says that packets to \(first) are too big (MTU 1400)"
        let (isLearnt, lines) = end(&hops, passing: 1500)
        #expect(!isLearnt)
        #expect(lines == ["\(claim), but a ping of 1500 bytes passes: the path MTU stays 1500"])
        #expect(end(&hops, passing: nil, second: 599).lines.isEmpty)
        let end = "and no ping shows whether they are: the path MTU stays 1500"
        #expect(self.end(&hops, passing: nil, second: 600).lines == ["\(claim), \(end)"])
    }
}
