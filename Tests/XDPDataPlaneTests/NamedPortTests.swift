import Addresses
import BPF
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// A port that gets or loses a listener while an any-port service has the VIP's other ports. Its packets change their
/// service.
@MainActor
@Suite(.serialized, .needsRoot)
struct NamedPortTests {
    private static let any = ServiceAddress(vip: Standard.main)
    private static let secure = ServiceAddress(vip: Standard.main, port: 443, transport: .tcp)
    private let lab: Lab

    init() throws {
        lab = try withPinDirectory { try Lab(directory: $0) }
    }

    /// Applies services that all have the same real servers.
    private func apply(_ listeners: ServiceAddress...) throws {
        let servers = (1...3 as ClosedRange<UInt8>).map { Standard.realServer($0) }
        try lab.apply(
            Configuration(
                services: listeners.map {
                    VirtualService(address: $0, scheduler: .rr, servers: servers)
                },
                paths: (1...3 as ClosedRange<UInt8>).map { Standard.path($0) }))
    }

    private func connect() throws -> [(FlowKey, IPv4Address)] {
        try (0..<6 as Range<UInt16>).map { number in
            let flow = FlowKey(client: Standard.client, clientPort: 1000 + number, vip: Standard.main, port: 443)
            let server = try #require(try lab.send(flow.packet([.syn])))
            try lab.send(flow.packet([.ack]))
            return (flow, server)
        }
    }

    private func expectKept(_ connections: [(FlowKey, IPv4Address)]) throws {
        for (flow, server) in connections { #expect(try lab.send(flow.packet([.ack], payload: 20)) == server) }
    }

    @Test("TCP connections outlive the naming of their port")
    func connectionsOutliveTheNamingOfTheirPort() throws {
        try apply(Self.any)
        let connections = try connect()
        try expectKept(connections)
        try apply(Self.any, Self.secure)
        try expectKept(connections)
    }

    @Test("TCP connections outlive the end of their named port")
    func connectionsOutliveTheEndOfTheirNamedPort() throws {
        try apply(Self.any, Self.secure)
        let connections = try connect()
        try expectKept(connections)
        try apply(Self.any)
        try expectKept(connections)
    }

    @Test("datagrams keep their real server when their port is named, and when it is no longer")
    func datagramsOutliveTheNamingOfTheirPort() throws {
        let dns = ServiceAddress(vip: Standard.main, port: 53, transport: .udp)
        try apply(Self.any)
        let flows = (0..<6 as Range<UInt16>).map { number in
            FlowKey(
                client: Standard.client, clientPort: 1000 + number, vip: Standard.main, port: 53, transport: .udp)
        }
        let servers = try flows.map { try #require(try lab.send($0.packet(payload: 20))) }
        #expect(Set(servers).count == 3)
        // The order is reversed, since connections that are scheduled anew would get the real servers in turn.
        @MainActor func expectKept() throws {
            for (flow, server) in zip(flows, servers).reversed() {
                #expect(try lab.send(flow.packet(payload: 20)) == server)
            }
        }
        try apply(Self.any, dns)
        try expectKept()
        try apply(Self.any)
        try expectKept()
    }

    private func number(_ vip: IPv4Address, _ transport: TransportProtocol = .tcp) throws -> UInt16 {
        let key = ipvsd_listener_key(vip: vip.bigEndian, port: 0, protocol: transport.number, reserved: 0)
        return try #require(try lab.plane.maps.listeners.value(for: key)).destination
    }

    @Test("a VIP gets no number that a flow of another one has")
    func aNumberIsNotReusedWhileAFlowHasIt() throws {
        try apply(Self.any)
        let first = Set(try TransportProtocol.allCases.map { try number(Standard.main, $0) })
        #expect(first.count == 2)
        let taken = try number(Standard.main)
        _ = try connect()
        try apply(ServiceAddress(vip: Standard.empty))
        let second = Set(try TransportProtocol.allCases.map { try number(Standard.empty, $0) })
        #expect(second.count == 2)
        #expect(!second.contains(taken))
        lab.forgetFlows()
        try apply(ServiceAddress(vip: Standard.narrow), ServiceAddress(vip: Standard.empty))
        #expect(try TransportProtocol.allCases.map { try number(Standard.narrow, $0) }.contains(taken))
        #expect(Set(try TransportProtocol.allCases.map { try number(Standard.empty, $0) }) == second)
    }

    @Test("flows of a port that has no service any more are not listed")
    func connectionsListNoFlowOfAnEndedPort() throws {
        let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)
        try withPinDirectory { directory in
            let lab = try Lab(directory: directory)
            try lab.plane.publish()
            @MainActor func apply(_ listeners: ServiceAddress...) throws {
                let services = listeners.map {
                    VirtualService(address: $0, scheduler: .rr, servers: [Standard.realServer(1)])
                }
                try lab.apply(Configuration(services: services, paths: [Standard.path(1)]))
            }
            @MainActor func ports() throws -> Set<UInt16> {
                var ports: Set<UInt16> = []
                try #require(try FlowScan(directory: directory)).forEach { ports.insert($0.port) }
                return ports
            }
            try apply(web, Self.secure)
            for port in [80, 443] as [UInt16] {
                let flow = FlowKey(client: Standard.client, clientPort: 1000, vip: Standard.main, port: port)
                try lab.send(flow.packet([.syn]))
            }
            #expect(try ports() == [80, 443])
            try apply(web)
            #expect(try ports() == [80])
            try apply(web, Self.any)
            #expect(try ports() == [80, 443])
        }
    }
}
