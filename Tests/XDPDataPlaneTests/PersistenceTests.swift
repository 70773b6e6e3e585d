import Addresses
import BPF
import DataPlane
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// Persistence, one-packet scheduling, and services of several listeners.
@MainActor
@Suite(.serialized, .needsRoot)
struct PersistenceTests {
    private static let shared = Swift.Result { try Lab(configuration()) }
    private let lab: Lab

    private static let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)
    private static let secure = ServiceAddress(vip: Standard.main, port: 443, transport: .tcp)
    private static let elsewhere = ServiceAddress(vip: Standard.strict, port: 80, transport: .tcp)
    private static let names = ServiceAddress(vip: Standard.empty, port: 53, transport: .udp)

    private static func configuration(
        down: Set<UInt8> = [], weights: [UInt16] = [1, 1, 1], moving: UInt8? = nil, scheduler: Scheduler = .rr,
        persistence: Persistence? = Persistence(timeout: 60)
    ) -> Configuration {
        let servers = (1...3 as ClosedRange<UInt8>).map {
            Standard.realServer($0, weight: weights[Int($0) - 1])
        }
        return Configuration(
            services: [
                VirtualService(
                    address: web, scheduler: scheduler, persistence: persistence, otherAddresses: [secure, elsewhere],
                    servers: servers),
                VirtualService(address: names, scheduler: .rr, isOnePacket: true, servers: servers),
            ].map {
                var desired = VirtualService($0, effective: Standard.down(down))
                if let moving { desired.change(.v4(Standard.server(moving))) { $0.movesPersistent = true } }
                return desired
            },
            paths: (1...3 as ClosedRange<UInt8>).map { Standard.path($0) })
    }

    init() throws {
        lab = try Self.shared.get()
        try lab.apply(Self.configuration())
        lab.forgetFlows()
        for map in try maps() { for key in try map.keys() { try map.remove(key) } }
    }

    private func flow(_ client: String, _ port: UInt16, to listener: ServiceAddress = web) -> FlowKey {
        FlowKey(
            client: address(client), clientPort: port, vip: listener.ipv4, port: listener.port ?? 80,
            transport: listener.transport ?? .tcp)
    }

    private func server(_ flow: FlowKey) throws -> IPv4Address { try #require(try lab.send(flow.packet([.syn]))) }

    /// Makes every template look as if it was last used this many seconds ago.
    private func age(by seconds: Int) throws {
        for templates in try maps() {
            for key in try templates.keys() {
                var template = try #require(try templates.value(for: key))
                template.stamp &-= XDPDataPlane.ticks(seconds: seconds)
                try templates.update(template, for: key)
            }
        }
    }

    private func maps() throws -> [BPFMap<ipvsd_template_key, ipvsd_template>] {
        [lab.plane.maps.templates, try #require(lab.plane.maps.confirmedTemplates)]
    }

    private func confirmed() throws -> Int { try #require(lab.plane.maps.confirmedTemplates).keys().count }

    @Test("a client keeps its server on every listener") func aClientStaysOnEveryListener() throws {
        for client in 1...6 {
            let first = try server(flow("192.0.2.\(client)", 1000))
            for port in 1001...1005 as ClosedRange<UInt16> {
                for listener in [Self.web, Self.secure, Self.elsewhere] {
                    #expect(try server(flow("192.0.2.\(client)", port, to: listener)) == first)
                }
            }
        }
        #expect(lab.loads().count == 3)
        #expect(lab.loads() == lab.recount())
    }

    @Test("connections to one port of two VIPs are separate") func listenersKeepTheirFlowsApart() throws {
        try lab.send(flow("192.0.2.1", 1000).packet([.syn]))
        #expect(
            try lab.run(flow("192.0.2.1", 1000, to: Self.elsewhere).packet([.ack])).moved
                == ["received": 1, "answered-no-connection": 1])
        try lab.send(flow("192.0.2.1", 1000, to: Self.elsewhere).packet([.syn]))
        #expect(lab.recount().values.reduce(0) { $0 + $1.active } == 2)
    }

    @Test("the time-out ends the persistence") func theTimeoutEnds() throws {
        let first = try server(flow("192.0.2.1", 1000))
        try age(by: 50)
        #expect(try server(flow("192.0.2.1", 1001)) == first)
        try age(by: 50)
        #expect(try server(flow("192.0.2.1", 1002)) == first)
        try age(by: 62)
        let others = try (1003...1005 as ClosedRange<UInt16>).map { port in
            try age(by: 62)
            return try server(flow("192.0.2.1", port))
        }
        #expect(Set(others).count == 3)
    }

    @Test("packets of a connection keep the template") func packetsKeepTheTemplate() throws {
        let connection = flow("192.0.2.1", 1000)
        let first = try server(connection)
        try lab.send(connection.packet([.ack]))
        try age(by: 50)
        try lab.age(connection, by: UInt16(XDPDataPlane.ticks(seconds: 50)))
        try lab.send(connection.packet([.ack], payload: 1))
        try age(by: 50)
        #expect(try server(flow("192.0.2.1", 1001)) == first)
    }

    @Test("the netmask joins neighbouring clients") func theNetmaskMakesNeighboursOne() throws {
        try lab.apply(Self.configuration(persistence: Persistence(timeout: 60, prefixLength: 24)))
        let first = try server(flow("192.0.2.1", 1000))
        for host in 2...9 { #expect(try server(flow("192.0.2.\(host)", 1000)) == first) }
        let others = try (3...5).map { try server(flow("192.0.\($0).1", 1000)) }
        #expect(Set(others).count == 3)
    }

    /// This is IPVS with expire_quiescent_template=0.
    @Test("a server of weight 0 keeps its clients, and one that is down does not")
    func aQuiescedServerKeepsItsClientsAndOneThatIsOutDoesNot() throws {
        let first = try server(flow("192.0.2.1", 1000))
        let number = UInt8(truncatingIfNeeded: first.value)
        var weights: [UInt16] = [1, 1, 1]
        weights[Int(number) - 1] = 0
        try lab.apply(Self.configuration(weights: weights))
        #expect(try server(flow("192.0.2.1", 1001)) == first)
        try lab.apply(Self.configuration(down: [number]))
        let second = try server(flow("192.0.2.1", 1002))
        #expect(second != first)
        try lab.apply(Self.configuration())
        #expect(try server(flow("192.0.2.1", 1003)) == second)
    }

    /// This is IPVS with expire_quiescent_template=1. Present connections go on.
    @Test("clients of a drained server may move with a new connection") func theClientsOfADrainedServerMayMove() throws
    {
        let connection = flow("192.0.2.1", 1000)
        let first = try server(connection)
        let number = UInt8(truncatingIfNeeded: first.value)
        try lab.send(connection.packet([.ack]))
        var weights: [UInt16] = [1, 1, 1]
        weights[Int(number) - 1] = 0
        try lab.apply(Self.configuration(weights: weights))
        #expect(try server(flow("192.0.2.1", 1001)) == first)
        try lab.apply(Self.configuration(weights: weights, moving: number))
        #expect(
            try lab.plane.snapshot().services.allSatisfy { service in
                service.servers.allSatisfy { $0.movesPersistent == ($0.address == first) }
            })
        #expect(try lab.send(connection.packet([.ack], payload: 1)) == first)
        let second = try server(flow("192.0.2.1", 1002))
        #expect(second != first)
        // The client has the same server at every listener, and clients without a template get a server that is not
        // drained.
        for listener in [Self.web, Self.secure, Self.elsewhere] {
            #expect(try server(flow("192.0.2.1", 1003, to: listener)) == second)
            #expect(try server(flow("192.0.2.9", 1003, to: listener)) != first)
        }
        #expect(try lab.send(connection.packet([.ack], payload: 1)) == first)
        #expect(try server(flow("192.0.2.1", 1004)) == second)
        // The client does not return to a server that is back.
        try lab.apply(Self.configuration())
        #expect(try server(flow("192.0.2.1", 1005)) == second)
        #expect(lab.loads() == lab.recount())
    }

    /// Flags alone tell a packet of a connection without an entry from a new connection's first packet.
    @Test("a connection without an entry does not move") func aConnectionWithoutEntryDoesNotMove() throws {
        try lab.apply(Self.configuration(scheduler: .mh))
        let connection = flow("192.0.2.1", 1000)
        let first = try server(connection)
        let number = UInt8(truncatingIfNeeded: first.value)
        lab.forgetFlows()
        var weights: [UInt16] = [1, 1, 1]
        weights[Int(number) - 1] = 0
        try lab.apply(Self.configuration(weights: weights, moving: number, scheduler: .mh))
        #expect(try lab.send(connection.packet([.ack], payload: 1)) == first)
        #expect(try server(flow("192.0.2.1", 1001)) != first)
    }

    /// The server's row is then free, or another service has it. In either case the template is invalid.
    @Test("a removed server loses its clients") func aServerThatIsGoneLosesItsClients() throws {
        let first = try server(flow("192.0.2.1", 1000))
        let gone = try lab.serverID(Self.web, first)
        lab.forgetFlows()
        var configuration = Self.configuration()
        configuration.services[0].servers.removeAll { $0.address == first }
        try lab.apply(configuration)
        for _ in 0..<4 { try lab.plane.sweep() }
        #expect(!lab.plane.serverIDs.all.contains { $0.id == Int(gone) })
        #expect(try server(flow("192.0.2.1", 1001)) != first)
        #expect(lab.loads()[gone] == nil)
    }

    // MARK: Proof

    @Test("a client is confirmed by data, also where its server speaks first")
    func dataConfirms() throws {
        let connection = flow("192.0.2.1", 1000)
        let first = try server(connection)
        for _ in 0..<3 { try lab.send(connection.packet([.ack])) }
        #expect(try confirmed() == 0)
        #expect(try lab.send(connection.packet([.rst], payload: 1)) == first)
        #expect(try confirmed() == 0)
        let other = flow("192.0.2.1", 1001)
        #expect(try server(other) == first)
        for _ in 0..<3 { try lab.send(other.packet([.ack])) }
        #expect(try lab.send(other.packet([.ack], payload: 1)) == first)
        #expect(try confirmed() == 1)
        #expect(lab.loads() == lab.recount())
    }

    @Test("connections that a client opens at once go to one server")
    func parallelConnections() throws {
        let flows = (1000...1005 as ClosedRange<UInt16>).map { flow("192.0.2.1", $0) }
        let servers = try flows.map { try server($0) }
        #expect(Set(servers).count == 1)
        for flow in flows {
            try lab.send(flow.packet([.ack]))
            #expect(try lab.send(flow.packet([.ack], payload: 1)) == servers[0])
        }
        #expect(try confirmed() == 1)
    }

    @Test("a confirmed client whose server is out stays with the one that it gets")
    func confirmedClientsMoveWhereTheServerIsOut() throws {
        let connection = flow("192.0.2.1", 1000)
        let first = try server(connection)
        try lab.send(connection.packet([.ack], payload: 1))
        try lab.apply(Self.configuration(down: [UInt8(truncatingIfNeeded: first.value)]))
        let second = try server(flow("192.0.2.1", 1001))
        #expect(second != first)
        try lab.apply(Self.configuration())
        #expect(try server(flow("192.0.2.1", 1002)) == second)
        #expect(try confirmed() == 1)
    }

    @Test("the sweep frees the templates that are over")
    func expiredTemplatesAreFreed() throws {
        for client in 1...10 {
            try lab.send(flow("192.0.2.\(client)", 1000).packet([.syn]))
            try lab.send(flow("192.0.2.\(client)", 1000).packet([.ack], payload: 1))
        }
        try lab.plane.sweep()
        #expect(try lab.plane.snapshot().templates?.used == 10)
        #expect(lab.plane.tableUse.contains { $0.name == "templates" && $0.used == 10 })
        try age(by: 61)
        _ = try server(flow("192.0.2.1", 1001))
        lab.plane.maps.tableLoad[0].templates_full = try lab.plane.tick()
        try lab.plane.sweep()
        #expect(try confirmed() == 1)
        #expect(try lab.plane.snapshot().templates?.used == 1)
        #expect(try lab.plane.snapshot().templates?.full == nil)
    }

    @Test("newcomers go by the Maglev table while there is no room for templates")
    func aFullTableSendsNewcomersByMaglev() throws {
        let service = ServiceAddress(vip: Standard.main, port: 80, transport: .udp)
        var configuration = Self.configuration()
        configuration.services[0].otherAddresses.append(service)
        var capacity = Capacity(connections: 1)
        capacity.templates = 4
        let lab = try withPinDirectory { try Lab(directory: $0, capacity: capacity) }
        try lab.apply(configuration)
        func connect(_ number: Int, _ port: UInt16) throws -> IPv4Address? {
            let connection = flow("192.0.2.\(number)", port)
            let server = try lab.send(connection.packet([.syn]))
            #expect(try lab.send(connection.packet([.ack], payload: 1)) == server)
            return server
        }
        let servers = try (1...4).map { try connect($0, 1000) }
        _ = try connect(5, 1000)
        #expect(try lab.plane.snapshot().templates?.full != nil)
        for number in 6...25 {
            let datagram = flow("192.0.2.\(number)", 1000, to: service)
            let server = try lab.send(datagram.packet(payload: 1))
            #expect(try connect(number, 1001) == server)
            #expect(try connect(number, 1002) == server)
        }
        #expect(try (1...4).map { try connect($0, 1001) } == servers)
    }

    @Test("a UDP client is confirmed by its second datagram")
    func datagramsConfirm() throws {
        let listener = ServiceAddress(vip: Standard.main, port: 80, transport: .udp)
        var configuration = Self.configuration()
        configuration.services[0].otherAddresses.append(listener)
        try lab.apply(configuration)
        let (one, other) = (flow("192.0.2.1", 1000, to: listener), flow("192.0.2.2", 1000, to: listener))
        let server = try lab.send(one.packet(payload: 1))
        let second = try lab.send(other.packet(payload: 1))
        #expect(try confirmed() == 0)
        #expect(try lab.send(one.packet(payload: 1)) == server)
        #expect(try confirmed() == 1)
        #expect(try lab.send(flow("192.0.2.2", 1001, to: listener).packet(payload: 1)) == second)
        #expect(try confirmed() == 2)
    }

    @Test("one-packet scheduling keeps no template") func onePacketSchedulingRemembersNothing() throws {
        let datagram = flow("192.0.2.1", 5000, to: Self.names)
        let servers = try (0..<6).map { _ in try #require(try lab.send(datagram.packet(payload: 30))) }
        #expect(servers.prefix(3) == servers.suffix(3))
        #expect(Set(servers).count == 3)
        #expect(lab.recount().isEmpty)
        #expect(lab.loads().isEmpty)
        let service = try #require(try lab.plane.snapshot().services.first { $0.address == Self.names })
        #expect(service.configured.isOnePacket)
        #expect(service.servers.allSatisfy { $0.connections >= 2 })
        try lab.expectBalance()
    }

    @Test("adopted tables have a service's configuration") func theTablesTellWhatAServiceIs() throws {
        var configuration = Self.configuration(
            down: [2], weights: [4, 1, 7], persistence: Persistence(timeout: 300, prefixLength: 20))
        configuration.services[0].onServerLoss = .rehash
        configuration.services[0].scheduler = .sh
        configuration.services[0].flags = [.shPort]
        configuration.services[0].maglevSize = 1021
        configuration.services[0].servers[2].thresholds = ConnectionThresholds(upper: 100, lower: 50)
        let desired = configuration.services[0]
        try lab.apply(configuration)
        var service = try #require(
            try lab.plane.snapshot().services.first { $0.listeners.contains(Self.web) })
        // The rows may be in another order than the servers, if rows were freed before.
        service.configured.servers.sort { $0.address < $1.address }
        #expect(service.configured == desired.asConfigured)
        #expect(VirtualService(service).standings == desired.standings)
    }

    @Test("a listener that moves to another service keeps its connections") func aListenerMoves() throws {
        let connection = flow("192.0.2.1", 1000, to: Self.secure)
        let first = try server(connection)
        let old = Self.configuration()
        var services = old.services
        services[0].otherAddresses = [Self.elsewhere]
        services.append(
            VirtualService(address: Self.secure, scheduler: .rr, servers: services[0].servers))
        try lab.apply(Configuration(services: services, paths: old.paths))
        #expect(try lab.send(connection.packet([.ack])) == first)
        #expect(try lab.plane.snapshot().services.count == 3)
        try lab.apply(old)
        #expect(try lab.send(connection.packet([.ack])) == first)
        #expect(try lab.plane.snapshot().services.count == 2)
    }
}
