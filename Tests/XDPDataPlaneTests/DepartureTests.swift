import Addresses
import BPF
import DataPlane
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// Flows of datagrams at a real server that is no longer in use. UDP has no FIN that ends them.
@MainActor
@Suite(.serialized, .needsRoot)
struct DepartureTests {
    enum Departure: CaseIterable, Sendable {
        case removed
        /// A sorry server that is no longer needed, or a real server that the sorry server replaces.
        case standby
        /// A drained real server, once the wait of `drain --timeout` has ended.
        case drained
    }

    private static let log = ServiceAddress(vip: Standard.main, port: 514, transport: .udp)
    private static let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)
    private static let shared = Swift.Result { try Lab(configuration()) }
    private let lab: Lab

    init() throws {
        lab = try Self.shared.get()
        try lab.apply(Self.configuration())
        lab.forgetFlows()
        for map in [lab.plane.maps.templates, try #require(lab.plane.maps.confirmedTemplates)] {
            for key in try map.keys() { try map.remove(key) }
        }
    }

    /// Returns one service of three real servers, with a UDP listener and a TCP listener.
    private static func configuration(
        _ departure: Departure? = nil, of leaving: IPv4Address? = nil,
        _ adjust: (inout VirtualService) -> Void = { _ in }
    ) -> Configuration {
        var service = VirtualService(
            address: log, scheduler: .rr, otherAddresses: [web],
            servers: (1...3 as ClosedRange<UInt8>).map { Standard.realServer($0) })
        adjust(&service)
        if departure == .removed { service.servers.removeAll { $0.address.v4 == leaving } }
        var desired = service
        if let leaving, departure == .standby { desired.effective[.v4(leaving)] = .standby }
        if let leaving, departure == .drained {
            desired.effective[.v4(leaving)] = .listed(weight: 0)
            desired.change(.v4(leaving)) { $0.movesDatagrams = true }
        }
        return Configuration(
            services: [desired], paths: (1...3 as ClosedRange<UInt8>).map { Standard.path($0) })
    }

    private func flow(_ client: String, _ port: UInt16, to listener: ServiceAddress = log) -> FlowKey {
        FlowKey(
            client: address(client), clientPort: port, vip: listener.ipv4, port: listener.port ?? 0,
            transport: listener.transport ?? .udp)
    }

    private func send(_ flow: FlowKey) throws -> IPv4Address {
        let packet = flow.transport == .udp ? flow.packet(payload: 20) : flow.packet([.ack], payload: 20)
        return try #require(try lab.send(packet))
    }

    private func open(_ flow: FlowKey) throws -> IPv4Address {
        let server = try #require(try lab.send(flow.packet([.syn])))
        #expect(try lab.send(flow.packet([.ack])) == server)
        return server
    }

    @Test("datagrams leave a departing server at once", arguments: Departure.allCases) func datagramsMoveAtOnce(
        _ departure: Departure
    ) throws {
        let datagrams = flow("192.0.2.1", 5000)
        let first = try send(datagrams)
        for _ in 0..<3 { #expect(try send(datagrams) == first) }
        let connections = (0..<3 as Range<UInt16>).map { flow("192.0.2.2", 6000 + $0, to: Self.web) }
        let holders = try connections.map(open)
        #expect(holders.contains(first))
        try lab.apply(Self.configuration(departure, of: first))
        let outcome = try lab.run(datagrams.packet(payload: 20))
        #expect(outcome.moved == ["received": 1, "forwarded": 1, "rescheduled": 1])
        let second = IPv4Address(word32(outcome.packet, 30))
        #expect(second != first)
        for _ in 0..<3 { #expect(try send(datagrams) == second) }
        for (connection, holder) in zip(connections, holders) { #expect(try send(connection) == holder) }
        // A server that is in use again gets no flows back.
        try lab.apply(Self.configuration())
        #expect(try send(datagrams) == second)
        #expect(lab.loads() == lab.recount())
        try lab.expectBalance()
    }

    @Test("datagrams stay with a departing server where the service says so", arguments: Departure.allCases)
    func datagramsMayFinish(_ departure: Departure) throws {
        func finish(_ service: inout VirtualService) { service.onServerRemoval = .finish }
        let datagrams = flow("192.0.2.1", 5000)
        let first = try send(datagrams)
        for _ in 0..<3 { #expect(try send(datagrams) == first) }
        try lab.apply(Self.configuration(departure, of: first, finish))
        let age = lab.timeout(IPVSD_STATE_UDP) - 100
        try lab.age(datagrams, by: age)
        for _ in 0..<3 { #expect(try send(datagrams) == first) }
        let entry = try #require(try lab.entries(of: datagrams).first)
        #expect(try lab.now &- UInt16(entry.pointee.value >> 48) >= age, "a datagram has refreshed the entry")
        try lab.age(datagrams, by: lab.timeout(IPVSD_STATE_UDP) + 1)
        let second = try send(datagrams)
        #expect(second != first)
        for _ in 0..<3 { #expect(try send(datagrams) == second) }
        #expect(lab.loads() == lab.recount())
        try lab.expectBalance()
    }

    /// A server that is down keeps no datagrams.
    @Test("datagrams leave a server that is down in any case") func datagramsOfAServerThatIsDownMoveInAnyCase() throws {
        let datagrams = flow("192.0.2.1", 5000)
        let first = try send(datagrams)
        var configuration = Self.configuration(.drained, of: first) { $0.onServerRemoval = .finish }
        configuration.services[0].effective[.v4(first)] = .down
        try lab.apply(configuration)
        #expect(try send(datagrams) != first)
    }

    @Test(
        "a departure moves the templates of its server's clients", arguments: Departure.allCases, ServerRemoval.allCases
    )
    func templatesFollow(_ departure: Departure, _ removal: ServerRemoval) throws {
        func adjust(_ service: inout VirtualService) {
            service.persistence = Persistence(timeout: 60)
            service.onServerRemoval = removal
        }
        try lab.apply(Self.configuration(nil, adjust))
        let (one, other) = (flow("192.0.2.1", 5000), flow("192.0.2.1", 5001))
        let first = try send(one)
        #expect(try send(other) == first)
        try lab.apply(Self.configuration(departure, of: first, adjust))
        let second = try send(flow("192.0.2.1", 5002))
        #expect(second != first)
        #expect(try send(one) == (removal == .move ? second : first))
        #expect(try send(other) == (removal == .move ? second : first))
        #expect(try send(flow("192.0.2.1", 5003)) == second)
        #expect(try open(flow("192.0.2.1", 5004, to: Self.web)) == second)
    }

    /// A client without datagrams keeps its template, as with any drain that does not move persistent clients.
    @Test("a drain that moves datagrams moves no connection") func aDrainThatMovesDatagramsMovesNoConnection() throws {
        func persist(_ service: inout VirtualService) { service.persistence = Persistence(timeout: 60) }
        try lab.apply(Self.configuration(nil, persist))
        let first = try open(flow("192.0.2.1", 5000, to: Self.web))
        try lab.apply(Self.configuration(.drained, of: first, persist))
        #expect(try open(flow("192.0.2.1", 5001, to: Self.web)) == first)
        let second = try send(flow("192.0.2.1", 5002))
        #expect(second != first)
        #expect(try open(flow("192.0.2.1", 5003, to: Self.web)) == second)
    }

    @Test("adopted tables have the state of departed servers") func theTablesTellWhatIsLeft() throws {
        let leaving = Standard.server(2)
        let configuration = Self.configuration(.drained, of: leaving) { $0.onServerRemoval = .finish }
        try lab.apply(configuration)
        let service = try #require(try lab.plane.snapshot().services.first)
        #expect(service.configured.onServerRemoval == .finish)
        #expect(VirtualService(service).standings == configuration.services[0].standings)
    }
}
