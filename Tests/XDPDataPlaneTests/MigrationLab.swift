import Addresses
import BPF
import LoadBalancing
import PacketPrograms
import Testing

@testable import XDPDataPlane

/// The common parts of the migration's tests.
enum MigrationLab {
    static let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)
    static let any = ServiceAddress(vip: Standard.main)
    static let names = ServiceAddress(vip: Standard.strict, port: 53, transport: .udp)
    static let sticky = ServiceAddress(vip: Standard.hashed, port: 443, transport: .tcp)

    static let servers = (1...3 as ClosedRange<UInt8>).map { Standard.realServer($0) }

    static func service(
        _ address: ServiceAddress, _ scheduler: Scheduler = .rr, persistence: Persistence? = nil,
        servers: [RealServer] = servers
    ) -> VirtualService {
        VirtualService(address: address, scheduler: scheduler, persistence: persistence, servers: servers)
    }

    static func configuration(_ services: VirtualService...) -> Configuration {
        Configuration(services: services, paths: (1...3 as ClosedRange<UInt8>).map { Standard.path($0) })
    }

    /// A configuration with two listeners of one VIP and protocol: port 80 of TCP, and all other ports.
    static let configuration = configuration(
        service(web), service(any), service(names), service(sticky, persistence: Persistence(timeout: 300)))

    static let constants = XDPDataPlane.constants(
        answersByRedirect: false, repliesPerSecond: 1_000_000, traits: PacketTraits())

    static func flow(
        _ number: Int, port: UInt16 = 80, _ transport: TransportProtocol = .tcp, vip: IPv4Address = Standard.main
    ) -> FlowKey {
        FlowKey(
            client: IPv4Address(0xC633_6400 + UInt32(number / 50000)), clientPort: UInt16(1000 + number % 50000),
            vip: vip, port: port, transport: transport)
    }

    /// Returns flows of four kinds, `count` of each: port 80, the any-port service's TCP and UDP, and port 53.
    static func mixed(_ count: Int, from first: Int = 0) -> [FlowKey] {
        (first..<(first + count)).flatMap {
            [
                flow($0), flow($0, port: 8080), flow($0, port: 5353, .udp),
                flow($0, port: 53, .udp, vip: Standard.strict),
            ]
        }
    }

    /// Returns a router's ICMP error about a reply of the flow.
    static func icmpError(about flow: FlowKey) -> PacketBuilder {
        let reply = PacketBuilder.ethernet().ipv4(from: flow.vip, to: flow.client)
        let segment =
            switch flow.transport {
            case .tcp: reply.tcp(from: flow.port, to: flow.clientPort, [.ack])
            case .udp: reply.udp(from: flow.port, to: flow.clientPort)
            }
        return PacketBuilder.ethernet().ipv4(from: address("192.0.2.254"), to: flow.vip)
            .icmp(type: 3, code: 4, word: 1400).payload(Array(segment.payload(8).ipPacket.prefix(28)))
    }

    /// Sends a packet by `program`. Returns the real server to which the packet goes, or nil if it was not
    /// encapsulated.
    static func send(_ packet: PacketBuilder, by program: BPFProgram) throws -> IPv4Address? {
        try encapsulated(program.testRun(packet: packet.bytes))
    }
}

/// Flows with the real servers to which they were sent.
@MainActor
struct HomedFlows {
    private(set) var homes: [(flow: FlowKey, server: IPv4Address)] = []

    /// Begins flows by a program. Every second flow gets a further packet, and so another state.
    mutating func begin(_ flows: [FlowKey], by program: BPFProgram) throws {
        for (number, flow) in flows.enumerated() {
            let server = try #require(try MigrationLab.send(flow.packet([.syn], payload: 4), by: program), "\(flow)")
            homes.append((flow, server))
            if number % 2 == 0 {
                #expect(try MigrationLab.send(flow.packet([.ack], payload: 9), by: program) == server, "\(flow)")
            }
        }
    }

    /// Expects each flow to go on at its real server: none is reset, moved or counted as a new one.
    func expectKept(
        by program: BPFProgram, _ comment: String = "", every step: Int = 1,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        var lost: [String] = []
        for index in stride(from: 0, to: homes.count, by: step) {
            let (flow, server) = homes[index]
            let met = try MigrationLab.send(flow.packet([.ack], payload: 10), by: program)
            if met != server {
                lost.append(
                    "\(flow.client):\(flow.clientPort) to port \(flow.port): \(server), then \(met?.description ?? "none")"
                )
            }
        }
        #expect(
            lost.isEmpty, "\(comment): \(lost.count) of \(homes.count), as \(lost.prefix(3))",
            sourceLocation: sourceLocation)
    }
}

extension LayoutMigration.Step: Comparable {
    static func < (one: LayoutMigration.Step, other: LayoutMigration.Step) -> Bool { one.rawValue < other.rawValue }
}
