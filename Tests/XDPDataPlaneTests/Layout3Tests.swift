import Addresses
import BPF
import CLibBPF
import Layout3
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// The fixture of layout 3, which has the program of that version, and rows with the present structures.
@MainActor
@Suite(.serialized, .needsRoot)
struct Layout3Tests {
    private static let servers = (1...3 as ClosedRange<UInt8>).map { Standard.realServer($0) }

    private static func service(
        _ address: ServiceAddress, _ scheduler: Scheduler, persistence: Persistence? = nil
    ) -> VirtualService {
        VirtualService(address: address, scheduler: scheduler, persistence: persistence, servers: servers)
    }

    private static let configuration = Configuration(
        services: [
            service(ServiceAddress(vip: Standard.main, port: 80, transport: .tcp), .rr),
            service(ServiceAddress(vip: Standard.main), .wlc),
            service(ServiceAddress(vip: Standard.strict, port: 53, transport: .udp), .mh),
            service(
                ServiceAddress(vip: Standard.hashed, port: 443, transport: .tcp), .wrr,
                persistence: Persistence(timeout: 300)),
        ], paths: (1...3 as ClosedRange<UInt8>).map { Standard.path($0) })

    private static func flows(_ vip: IPv4Address, _ port: UInt16, _ transport: TransportProtocol) -> [FlowKey] {
        (0..<30 as Range<UInt16>).map {
            FlowKey(client: Standard.client, clientPort: 2000 + $0, vip: vip, port: port, transport: transport)
        }
    }

    @Test("the fixture of layout 3 forwards by the rows that today's program writes")
    func theFixtureForwards() throws {
        try withPinDirectory { directory in
            let old = try Layout3Lab(directory: directory, Self.configuration)
            let flows = [
                Self.flows(Standard.main, 80, .tcp), Self.flows(Standard.main, 8080, .tcp),
                Self.flows(Standard.main, 5353, .udp), Self.flows(Standard.strict, 53, .udp),
            ]
            for group in flows {
                let homes = try group.map { try #require(try old.send($0.packet([.syn], payload: 8))) }
                // The flows have one client. By a hash of its address, all go to one real server.
                #expect(Set(homes).count == (group[0].port == 53 ? 1 : Self.servers.count))
                for (flow, home) in zip(group, homes) {
                    #expect(try old.send(flow.packet([.ack], payload: 10)) == home)
                    #expect(try old.entries(of: flow).count == 1)
                }
            }
            let persistent = try Self.flows(Standard.hashed, 443, .tcp).map { try old.send($0.packet([.syn])) }
            #expect(Set(persistent).count == 1)
            #expect(persistent.first != .some(nil))
            #expect(try old.send(Self.flows(Standard.quiesced, 80, .tcp)[0].packet([.syn])) == nil)
            #expect(old.lab.loads() == old.lab.recount())
            #expect(old.lab.recount().values.reduce(0) { $0 + $1.active + $1.inactive } == 150)
            #expect(try old.counters()[Int(IPVSD_FORWARDED.rawValue)] == 270)
        }
    }

    @Test("the fixture of layout 3 sends the packets that today's program sends")
    func theFixtureEncapsulates() throws {
        try withPinDirectory { directory in
            let old = try Layout3Lab(directory: directory, Standard.configuration)
            let ways: [(IPv4Address, Path)] = [
                (Standard.main, Standard.web), (Standard.tagged, Standard.viaTag),
                (Standard.doublyTagged, Standard.viaTwoTags), (Standard.transmitting, Standard.viaTransmit),
            ]
            for (vip, path) in ways {
                let frame = Self.flows(vip, 80, .tcp)[0].packet([.syn]).bytes
                let run = try old.plane.program().testRun(packet: frame)
                #expect(run.packet == NaiveEncapsulator.encapsulate(frame, path: path, id: 0), "\(vip)")
            }
        }
    }

    @Test("the rows that layout 3 shares with today's have the same bytes")
    func rowsOfTheFixtureHaveTodaysBytes() throws {
        let (old, today) = (try Structures(of: .layout3), try Structures(of: .director))
        let pairs = [
            ("ipvsd_bucket", "ipvsd_bucket"), ("ipvsd_flow", "ipvsd_flow"), ("ipvsd_overflow", "ipvsd_overflow"),
            ("ipvsd_service", "ipvsd_service"), ("ipvsd_slots", "ipvsd_slots"), ("ipvsd_server", "ipvsd_server"),
            ("ipvsd_load", "ipvsd_conn_counts"), ("ipvsd_path", "ipvsd_next_hop"),
            ("ipvsd_statistics", "ipvsd_statistics"), ("ipvsd_settings", "ipvsd_settings"),
            ("ipvsd_pressure", "ipvsd_table_load"), ("ipvsd_template_key", "ipvsd_template_key"),
            ("ipvsd_template", "ipvsd_template"), ("ipvsd_datagram", "ipvsd_datagram"),
            ("ipvsd_fragments", "ipvsd_fragments"), ("ipvsd_port", "ipvsd_port"),
            ("ipvsd_service_key", "ipvsd_listener_key"),
        ]
        for (name, successor) in pairs {
            let (former, present) = (try old.layout(of: name), try today.layout(of: successor))
            #expect(former.size == present.size, "\(name)")
            // In the present layout both MACs are one field.
            let fields = name == "ipvsd_path" ? former.offsets.subtracting([8]) : former.offsets
            #expect(fields.isSubset(of: present.offsets), "\(name): \(former.offsets) and \(present.offsets)")
        }
    }
}

/// The structures of a BPF object, as its type information (BTF) has them.
private final class Structures {
    private let object: OpaquePointer
    private let types: OpaquePointer

    init(of embedded: EmbeddedObject) throws {
        object = try #require(embedded.bytes.withUnsafeBytes { bpf_object__open_mem($0.baseAddress, $0.count, nil) })
        types = try #require(bpf_object__btf(object))
    }

    deinit { bpf_object__close(object) }

    func layout(of name: String) throws -> (size: Int, offsets: Set<UInt32>) {
        let id = btf__find_by_name_kind(types, name, UInt32(BTF_KIND_STRUCT))
        try #require(id > 0, "no structure \(name)")
        let type = try #require(btf__type_by_id(types, UInt32(id)))
        let members = UnsafePointer(try #require(btf_members(type)))
        let offsets = (0..<Int(btf_vlen(type))).map { members[$0].offset / 8 }
        return (Int(type.pointee.size), Set(offsets))
    }
}
