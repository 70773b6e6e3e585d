import Addresses
import BPF
import Glibc
import LoadBalancing
import Netlink
import XDPDataPlane

/// The director's program and its tables. The program is not attached to an interface.
final class BenchPlane {
    static let source = IPv4Address(0xCB00_7101)
    static let servers = 16

    let plane: XDPDataPlane
    private typealias Bucket = SIMD16<UInt64>
    private let flows: MappedArray<Bucket>
    private static let ways = 8

    /// Creates the tables in `pins`. `ownMAC` is the destination MAC of incoming packets; nil: the next hop's MAC,
    /// which next_packet writes as their destination. Packets to a real server leave by XDP_TX where `transmit` returns
    /// true, else by redirect to `interface`.
    init(
        pins: PinDirectory, connections: Int = ConnectionLimits.defaultConnections,
        services: [VirtualService] = standardServices, interface: Int32 = 1,
        sourceMAC: MACAddress? = MACAddress([2, 0, 0, 0, 0, 1]), ownMAC: MACAddress? = nil,
        transmit: (IPv4Address) -> Bool = { $0.value < 0xAC10_0100 || $0.value >= 0xAC11_0000 }
    ) throws {
        plane = try XDPDataPlane(
            directory: pins.path, capacity: Capacity(connections: connections, services: services),
            answersByRedirect: false)
        flows = try pins.map(.flows, Bucket.self).memory(writable: true)
        try plane.apply(services)
        guard let sourceMAC, let nextHop = MACAddress([2, 0, 0, 0, 0, 2]) else { throw Failure("no MAC address") }
        for server in Set(services.flatMap(\.servers).compactMap(\.address.v4)) {
            try plane.setPath(
                Path(
                    source: Self.source, destination: server, interface: interface, sourceMAC: sourceMAC,
                    nextHopMAC: nextHop, mtu: 1500, transmits: transmit(server)),
                to: server)
        }
        plane.setIngressMTU(1500)
        plane.setOwnMACs([ownMAC ?? nextHop])
        // New flows do not reach this limit, but the program still compares their number with it.
        plane.setHalfOpenLimit(.max >> 1)
    }

    /// The services of two VIPs, `PacketKind.transmitting` and `PacketKind.redirecting`. Packets leave by XDP_TX to the
    /// first VIP's real servers, and by redirect to the second VIP's.
    static var standardServices: [VirtualService] {
        [(PacketKind.transmitting, UInt32(0xAC10_0000)), (PacketKind.redirecting, 0xAC10_0100)].flatMap {
            vip, network in
            TransportProtocol.allCases.map { transport in
                service(vip: vip, port: PacketKind.port, transport: transport, network: network, servers: servers)
            }
        }
    }

    static func service(
        vip: IPv4Address, port: UInt16, transport: TransportProtocol = .tcp, scheduler: Scheduler = .rr,
        network: UInt32,
        servers: Int
    ) -> VirtualService {
        VirtualService(
            address: ServiceAddress(vip: .v4(vip), port: port, transport: transport), scheduler: scheduler,
            servers: (1...UInt32(servers)).map { RealServer(address: .v4(IPv4Address(network + $0))) })
    }

    var flowBuckets: Int { flows.count }
    /// The number of entries of the flow table.
    var flowCapacity: Int { flows.count * Self.ways }
    var flowTableBytes: Int { flows.count * flows.stride }

    /// Empties the flow table. Real servers' counts of connections stay.
    func forgetFlows() { memset(flows.pointer(0), 0, flows.count * flows.stride) }
}
