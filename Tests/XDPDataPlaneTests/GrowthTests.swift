import Addresses
import BPF
import CLinux
import DataPlane
import Glibc
import LoadBalancing
import Netlink
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// The growth of tables when a daemon's successor demands larger tables.
@MainActor
@Suite(.serialized, .needsRoot)
struct GrowthTests {
    private static let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)

    private static func services(_ count: UInt16 = 1) -> [VirtualService] {
        (0..<count).map { number in
            VirtualService(
                address: ServiceAddress(vip: Standard.main, port: 80 + number, transport: .tcp), scheduler: .rr,
                servers: (1...3 as ClosedRange<UInt8>).map { Standard.realServer($0) })
        }
    }

    private static func configuration(services count: UInt16 = 1) -> Configuration {
        Configuration(
            services: services(count), paths: (1...3 as ClosedRange<UInt8>).map { Standard.path($0) })
    }

    private static let small = Capacity(connections: 2048, services: services())

    private func flow(_ number: Int) -> FlowKey {
        FlowKey(
            client: IPv4Address(0xC633_6400 + UInt32(number / 50000)), clientPort: UInt16(1000 + number % 50000),
            vip: Standard.main, port: 80)
    }

    private func forwarded(_ lab: Lab) throws -> UInt64 {
        try lab.plane.snapshot().services[0].servers.reduce(0) { $0 + $1.packets }
    }

    private func pins(below directory: String) -> [String] {
        MapCatalogue.all.map { $0.nextPin(below: directory) }.filter { access($0, F_OK) == 0 }
    }

    @Test("the sizes of tables follow the configuration") func tablesFollowTheConfiguration() throws {
        let none = Capacity(connections: 1)
        #expect(none.sizes[MapCatalogue.flows.map] == 1024)
        #expect(none.sizes[MapCatalogue.servers.map] == 256)
        let rows = [
            MapCatalogue.flows.map: 128, MapCatalogue.slots.map: 8, MapCatalogue.listenerCache.map: 64,
            MapCatalogue.services.map: 64, MapCatalogue.nextHops.map: 64,
        ]
        let memory = none.sizes.reduce(0) { sum, table in sum + table.value * (rows[table.key] ?? 32) }
        #expect(memory < 1 << 20)
        let most = Capacity(connections: ConnectionLimits.maximumConnections)
        #expect(most.sizes[MapCatalogue.flows.map] == 1 << 23)
    }

    /// The 4,096 services have 65,520 real servers in all. Packets of each service reach its own real servers.
    @Test("the largest numbers of services and real servers fit") func asManyServicesAndServersAsThereMayBe() throws {
        let count: UInt16 = 4096
        let path = Standard.path(1)
        let services = (0..<count).map { number in
            VirtualService(
                address: ServiceAddress(vip: Standard.main, port: 1 + number, transport: .tcp), scheduler: .rr,
                maglevSize: 251,
                servers: (1...(number == 0 ? 15 : 16)).map {
                    RealServer(address: IPv4Address(0x0A00_0000 + UInt32(number) << 8 + UInt32($0)))
                })
        }
        try withPinDirectory { directory in
            let lab = try Lab(directory: directory, capacity: Capacity(connections: 2048, services: services))
            try lab.plane.apply(services)
            lab.plane.setIngressMTU(1500)
            for number in stride(from: 0, to: count, by: 97) {
                for server in services[Int(number)].servers {
                    var way = path
                    way.destination = server.address.ipv4
                    try lab.plane.setPath(way, to: server.address.ipv4)
                }
                // Flows from one port of a client to ports of one VIP share two buckets, so each flow has a port of its
                // own.
                let flows = (0..<4).map {
                    FlowKey(
                        client: Standard.client, clientPort: 1000 + 4 * number + $0, vip: Standard.main,
                        port: 1 + number)
                }
                let wanted = Set(services[Int(number)].servers.map(\.address.ipv4))
                let met = try flows.map {
                    let outcome = try lab.run($0.packet([.syn]))
                    try #require(outcome.moved == ["received": 1, "forwarded": 1], "service \(number)")
                    return IPv4Address(word32(outcome.packet, 30))
                }
                #expect(Set(met).count == 4)
                #expect(wanted.isSuperset(of: met))
            }
            #expect(try lab.plane.snapshot().services.reduce(0) { $0 + $1.servers.count } == 65535)
        }
    }

    @Test("growth keeps every connection and exact counts") func growingKeepsEveryConnection() throws {
        try withPinDirectory { directory in
            let first = try Lab(directory: directory, capacity: Self.small)
            try first.apply(Self.configuration())
            try first.plane.publish()
            let flows = (0..<1500).map(flow)
            let servers = try flows.map { try #require(try first.send($0.packet([.syn]))) }
            for flow in flows.prefix(700) { try first.send(flow.packet([.ack], payload: 10)) }
            let loads = first.loads()
            #expect(loads == first.recount())
            let packets = try forwarded(first)

            let capacity = Capacity(connections: 16384, services: Self.services(40))
            let second = try Lab(directory: directory, capacity: capacity)
            #expect(second.plane.maps.flows.count > first.plane.maps.flows.count)
            #expect(second.plane.maps.isMigrating)
            // The old program handles a packet between the two copies of the table.
            let late = flow(5000)
            let lateServer = try #require(try first.send(late.packet([.syn])))
            // The new program finds connections where they were.
            for (flow, server) in zip(flows, servers).prefix(100) {
                #expect(try second.send(flow.packet([.ack], payload: 10)) == server)
            }
            #expect(try second.send(late.packet([.ack])) == lateServer)

            try second.plane.publish()
            #expect(!second.plane.maps.isMigrating)
            #expect(pins(below: directory).isEmpty)
            let third = try Lab(directory: directory, capacity: Self.small)
            #expect(third.plane.maps.flows.count == second.plane.maps.flows.count)
            for (flow, server) in zip(flows, servers) {
                #expect(try third.send(flow.packet([.ack], payload: 10)) == server)
            }
            #expect(third.loads() == third.recount())
            #expect(third.recount().values.reduce(0) { $0 + $1.active } == 1501)
            #expect(try forwarded(third) == packets + 100 + 2 + 1500)
            try third.apply(Self.configuration(services: 40))
            #expect(try third.plane.snapshot().services.count == 40)
            #expect(try third.send(flows[0].packet([.ack])) == servers[0])
        }
    }

    private static func persistent(connections: Int, templates: Int) -> (configuration: Configuration, Capacity) {
        var configuration = configuration()
        configuration.services[0].persistence = Persistence(timeout: 300)
        var capacity = Capacity(connections: connections, services: configuration.services)
        capacity.templates = templates
        return (configuration, capacity)
    }

    private func client(_ number: Int, port: UInt16) -> FlowKey {
        FlowKey(
            client: IPv4Address(0xC633_6500 + UInt32(number)), clientPort: port, vip: Standard.main, port: 80)
    }

    /// Packets pass the former program until the swap of the links.
    @Test("a client that comes during growth keeps its server") func clientsThatComeMeanwhileKeepTheirServer() throws {
        let (configuration, capacity) = Self.persistent(connections: 2048, templates: 4096)
        try withPinDirectory { directory in
            let first = try Lab(directory: directory, capacity: capacity)
            try first.apply(configuration)
            try first.plane.publish()
            var servers = try (0..<5).map { try #require(try first.send(client($0, port: 1000).packet([.syn]))) }

            let larger = Self.persistent(connections: 4096, templates: 8192).1
            let second = try Lab(directory: directory, capacity: larger)
            #expect(second.plane.maps.templates.maxEntries == 8192)
            servers += try (5..<15).map { try #require(try first.send(client($0, port: 1000).packet([.syn]))) }
            // A client may come back by the new program before its template is copied. The new program may then choose
            // another server.
            let early = client(14, port: 1001)
            let elsewhere = try #require(try second.send(early.packet([.syn])))
            let row = try #require(second.plane.services[Self.web])
            let key = ipvsd_template_key(client: early.client.bigEndian, service: UInt32(row))
            var template = try #require(try second.plane.maps.templates.value(for: key))
            template.stamp &+= 1
            try second.plane.maps.templates.update(template, for: key)
            servers[14] = elsewhere

            try second.plane.publish()
            for (number, server) in servers.enumerated() {
                #expect(try second.send(client(number, port: 1002).packet([.syn])) == server, "client \(number)")
            }
            #expect(try second.plane.maps.templates.entries().count == 15)
        }
    }

    @Test("a connection without room during growth goes on") func connectionsThatFindNoRoomMeanwhileGoOn() throws {
        var capacity = Self.small
        capacity.flowBuckets = 32
        try withPinDirectory { directory in
            let first = try Lab(directory: directory, capacity: capacity)
            try first.apply(Self.configuration())
            first.plane.setHalfOpenLimit(0)
            try first.plane.publish()
            let second = try Lab(directory: directory, capacity: Self.small)
            #expect(second.plane.maps.flows.count == 1024)
            var unrecorded: [FlowKey: IPv4Address] = [:]
            for flow in (0..<400).map(flow) {
                let outcome = try first.run(flow.packet([.syn]))
                if outcome.moved["flow-table-full"] != nil {
                    unrecorded[flow] = IPv4Address(word32(outcome.packet, 30))
                } else {
                    try first.send(flow.packet([.ack], payload: 1))
                }
            }
            #expect(unrecorded.count > 20)
            try second.plane.publish()
            for (flow, server) in unrecorded {
                #expect(try second.send(flow.packet([.ack], payload: 1)) == server)
            }
            #expect(second.loads() == second.recount())
        }
    }

    @Test("a successor that is never attached changes nothing") func growthThatIsGivenUp() throws {
        try withPinDirectory { directory in
            let first = try Lab(directory: directory, capacity: Self.small)
            try first.apply(Self.configuration())
            let server = try #require(try first.send(flow(1).packet([.syn])))
            do {
                let second = try Lab(directory: directory, capacity: Capacity(connections: 16384))
                #expect(!pins(below: directory).isEmpty)
                _ = second
            }
            #expect(pins(below: directory).isEmpty)
            let third = try Lab(directory: directory, capacity: Self.small)
            #expect(third.plane.maps.flows.count == first.plane.maps.flows.count)
            #expect(try third.send(flow(1).packet([.ack])) == server)
        }
    }

    /// The start fails at each step that needs a descriptor. The last start lacks descriptors only for the explaining
    /// program, and goes on without it.
    @Test("a start without descriptors leaves no larger tables") func growthThatFails() async {
        await #expect(processExitsWith: .success) {
            try await MainActor.run { try Self().growWithFewDescriptors() }
        }
    }

    private func growWithFewDescriptors() throws {
        try withPinDirectory { directory in
            let first = try Lab(directory: directory, capacity: Self.small)
            try first.apply(Self.configuration())
            try first.plane.publish()
            let server = try #require(try first.send(flow(1).packet([.syn])))
            let lowest = dup(0)
            close(lowest)
            var limits = rlimit()
            try #require(getrlimit(__rlimit_resource_t(__RLIMIT_OFILE.rawValue), &limits) == 0)
            func limit(_ descriptors: rlim_t) throws {
                var few = limits
                few.rlim_cur = descriptors
                try #require(setrlimit(__rlimit_resource_t(__RLIMIT_OFILE.rawValue), &few) == 0)
            }
            var second: Lab?
            var failures: [String] = []
            for spare in 20..<300 as Range<rlim_t> where second == nil {
                try limit(rlim_t(lowest) + spare)
                do {
                    second = try Lab(directory: directory, capacity: Capacity(connections: 16384))
                } catch let error as BPFError { failures.append(error.operation) }
                try limit(limits.rlim_cur)
                if second == nil {
                    #expect(pins(below: directory).isEmpty, "\(failures)")
                    #expect(!first.plane.maps.isMigrating, "\(failures)")
                }
            }
            let loads = try #require(failures.lastIndex { $0.contains("BPF object director") }, "\(failures)")
            #expect(loads < failures.count - 1, "none failed once it had loaded: \(failures)")
            let plane = try #require(second?.plane)
            #expect(plane.explainingRefusal?.code == EMFILE, "\(failures)")
            try plane.publish()
            #expect(plane.explainingRefusal == nil)
            #expect(try second?.send(flow(1).packet([.ack])) == server)
        }
    }

    /// The interface that does not refuse also gets the flows that began meanwhile, in the former tables.
    @Test("an interface that refuses the program gives the others the former one back")
    func growthThatOneInterfaceRefuses() async {
        await #expect(processExitsWith: .success) {
            try await MainActor.run { try Self().growThatOneInterfaceRefuses() }
        }
    }

    private func growThatOneInterfaceRefuses() throws {
        try #require(clinux_unshare_network() == 0)
        let socket = try RouteSocket()
        try socket.createVeth(name: "one", peer: "other")
        let one = try #require(try socket.link(named: "one")).index
        try withPinDirectory { directory in
            let pin = XDPDataPlane.linkPin(directory: directory, interface: one)
            defer { unlink(pin) }
            let first = try Lab(directory: directory, capacity: Self.small)
            try first.apply(Self.configuration())
            try first.plane.attach(interface: one, mode: .native)
            try first.plane.publish()
            let server = try #require(try first.send(flow(1).packet([.syn])))
            let used = try #require(try BPFLink(pinnedAt: pin)).programID()
            var met: IPv4Address?
            do {
                let second = try Lab(directory: directory, capacity: Capacity(connections: 16384))
                try second.plane.attach(interface: one, mode: .native)
                #expect(try #require(try BPFLink(pinnedAt: pin)).programID() != used)
                met = try second.send(flow(2).packet([.syn]))
                #expect(throws: BPFError.self) { try second.plane.attach(interface: 9999, mode: .native) }
                second.plane.reattachPublished()
            }
            #expect(!first.plane.maps.isMigrating, "every packet would look in a table before this one")
            #expect(try #require(try BPFLink(pinnedAt: pin)).programID() == used)
            #expect(pins(below: directory).isEmpty)
            #expect(try first.send(flow(1).packet([.ack], payload: 10)) == server)
            #expect(met != nil)
            #expect(try first.send(flow(2).packet([.ack], payload: 10)) == met)
            #expect(first.loads() == first.recount())
            #expect(first.recount().values.reduce(0) { $0 + $1.active } == 2)
        }
    }

    @Test("the sweep reaches all buckets of a grown table") func theSweepSeesAllOfAGrownTable() throws {
        try withPinDirectory { directory in
            let lab = try Lab(directory: directory, capacity: Capacity(connections: 16384, services: Self.services()))
            try lab.apply(Self.configuration())
            let flows = (0..<3000).map(flow)
            for flow in flows { try lab.send(flow.packet([.syn])) }
            for flow in flows { try lab.age(flow, by: lab.timeout(IPVSD_STATE_SYN_RECV) + 2) }
            try lab.plane.sweep()
            #expect(lab.recount().isEmpty)
            #expect(lab.loads().isEmpty)
            #expect(lab.plane.maps.tableLoad[0].half_open == 0)
        }
    }
}
