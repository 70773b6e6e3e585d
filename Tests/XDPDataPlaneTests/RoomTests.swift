import Addresses
import BPF
import DataPlane
import Glibc
import LoadBalancing
import TestSupport
import Testing

@testable import XDPDataPlane

private let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)

private func servers(_ numbers: Range<UInt32>) -> [RealServer] {
    numbers.map { RealServer(address: IPv4Address(0x0A02_0000 + $0)) }
}

private func service(_ numbers: Range<UInt32>, port: UInt16 = 80, by scheduler: Scheduler = .rr) -> VirtualService {
    VirtualService(
        address: ServiceAddress(vip: Standard.main, port: port, transport: .tcp), scheduler: scheduler,
        servers: servers(numbers))
}

/// The sizes of tables, by the rows that are held and the rows that services demand.
struct RoomTests {
    /// Returns the held rows of one service that has or had these real servers.
    private func held(_ numbers: Range<UInt32>) -> HeldRows {
        var ids = ServerIDs()
        for (id, server) in servers(numbers).enumerated() { ids[1, server.address.ipv4] = id + 1 }
        return HeldRows(
            services: [web: 1], serverIDs: ids, routed: ids.addresses, serviceRows: 1, serverRows: numbers.count,
            pathRows: numbers.count, slices: SliceAllocator(groups: 1 << 14))
    }

    private func capacity(_ services: [VirtualService], besides held: HeldRows) throws -> Capacity {
        var capacity = Capacity(connections: 1, services: services)
        try capacity.makeRoom(for: held.demand(of: services))
        return capacity
    }

    @Test("rows of removed servers are held") func rowsOfRemovedServersAreHeld() throws {
        #expect(try capacity([service(1000..<1120)], besides: held(0..<120)).servers == 256)
        #expect(try capacity([service(2000..<2120)], besides: held(0..<240)).servers == 512)
        // Servers that come back still have their rows.
        #expect(try capacity([service(120..<240)], besides: held(0..<240)).servers == 256)
    }

    @Test("rows of removed services are held") func rowsOfRemovedServicesAreHeld() throws {
        var held = held(0..<1)
        held.serviceRows = 60
        let services = (0..<30 as Range<UInt16>).map { service(0..<1, port: 80 + $0) }
        // The first service already has a row.
        #expect(try capacity(services, besides: held).services == 128)
        held.serviceRows = 34
        #expect(try capacity(services, besides: held).services == 64)
    }

    @Test("the listeners of old and new services count together") func listenersOfBothAreThere() throws {
        var held = held(0..<1)
        for port in 1...200 as ClosedRange<UInt16> {
            held.services[ServiceAddress(vip: Standard.strict, port: port, transport: .tcp)] = Int(port) + 1
        }
        #expect(try capacity([service(0..<1)], besides: held).listenerBuckets == 128)
    }

    @Test("the slots of old and new services count together") func slotsOfBothAreThere() throws {
        var held = held(0..<1)
        let all = held.slices.allocate(size: 4 * (1 << 14) - 8)
        try #require(all != nil)
        #expect(try capacity([service(0..<1)], besides: held).slotGroups == 1 << 15)
    }

    @Test("slices fit into gaps") func slicesFitIntoGaps() {
        var slices = SliceAllocator(groups: 10)
        let now = ContinuousClock.now
        let given = [8, 8, 8, 8].map { slices.allocate(size: $0, now: now) }
        #expect(slices.hasRoom(for: [4], groups: 10, now: now))
        #expect(!slices.hasRoom(for: [5], groups: 10, now: now))
        #expect(slices.hasRoom(for: [5], groups: 11, now: now))
        for slice in [given[0], given[2]] { slices.release(slice ?? .init(first: 0, size: 0), now: now) }
        #expect(!slices.hasRoom(for: [8, 8], groups: 10, now: now), "they rest")
        let later = now + RowAllocator.grace
        #expect(slices.hasRoom(for: [8, 8, 4], groups: 10, now: later))
        #expect(!slices.hasRoom(for: [8, 9], groups: 10, now: later))
    }

    @Test("rows at rest are held") func rowsAtRestAreHeld() {
        var rows = RowAllocator(count: 8, used: [1, 2])
        let now = ContinuousClock.now
        rows.release(1, now: now)
        #expect(rows.usedCount == 1)
        #expect(rows.heldCount(now: now) == 2)
        #expect(rows.heldCount(now: now + RowAllocator.grace) == 1)
    }

    @Test("a demand beyond the largest table is refused") func whatNoTableHoldsIsRefused() throws {
        let error = #expect(throws: BPFError.self) {
            try capacity([service(60_000..<66_000)], besides: held(0..<61_000))
        }
        #expect(error?.code == ENOSPC)
        #expect(
            error?.operation.hasPrefix(
                "find room for 5000 more real servers: their table holds 61000 rows, 60000 of them of real servers that "
                    + "are removed, and 65535 are the most; ") == true)
    }
}

/// Exchanges of all services or real servers of a data plane that is in use.
@MainActor
@Suite(.serialized, .needsRoot)
struct ExchangeTests {
    private static let connections = 2048

    private func configuration(_ services: [VirtualService]) -> Configuration {
        let addresses = Set(services.flatMap { $0.servers.map(\.address.ipv4) })
        return Configuration(
            services: services,
            paths: addresses.map { address in
                var path = Standard.path(1)
                path.destination = address
                return path
            })
    }

    private func capacity(_ services: [VirtualService]) -> Capacity {
        Capacity(connections: Self.connections, services: services)
    }

    private func use(_ lab: Lab) -> [String: Int] {
        Dictionary(uniqueKeysWithValues: lab.plane.tableUse.map { ($0.name, $0.used) })
    }

    private func flow(_ number: UInt16, port: UInt16 = 80) -> FlowKey {
        FlowKey(client: Standard.client, clientPort: 1000 + number, vip: Standard.main, port: port)
    }

    @Test("IPv6 is refused before anything has changed")
    func ipv6IsRefused() throws {
        try withPinDirectory { directory in
            let services = [service(0..<1)]
            let lab = try Lab(directory: directory, capacity: capacity(services))
            try lab.apply(configuration(services))
            let before = try lab.plane.snapshot().services.map(\.configured)
            let far = IPAddress.v6(IPv6Address(high: 1 << 61, low: 1))
            var others = [services[0], services[0], services[0]]
            others[0].address.vip = far
            others[1].servers.append(RealServer(address: far))
            others[2].otherAddresses = [ServiceAddress(vip: far, port: 80, transport: .tcp)]
            for other in others {
                let error = #expect(throws: BPFError.self) { try lab.plane.apply([other]) }
                #expect(error?.code == EAFNOSUPPORT)
                #expect(error?.operation.contains("2000::1 is an IPv6 address, and only IPv4 is accepted") == true)
                #expect(throws: BPFError.self) { try lab.plane.update([other]) }
            }
            #expect(try lab.plane.snapshot().services.map(\.configured) == before)
        }
    }

    /// Each exchange is like a reload. Connections go on at the removed real servers.
    @Test("real servers are exchanged repeatedly") func realServersAreExchangedAgainAndAgain() throws {
        try withPinDirectory { directory in
            var services = [service(0..<120)]
            var lab = try Lab(directory: directory, capacity: capacity(services))
            try lab.apply(configuration(services))
            try lab.plane.publish()
            #expect(lab.plane.maps.servers.count == 256)
            var homes: [(flow: FlowKey, server: IPv4Address)] = []
            for round in 1...4 as ClosedRange<UInt32> {
                for _ in 0..<20 {
                    let flow = flow(UInt16(homes.count))
                    homes.append((flow, try #require(try lab.send(flow.packet([.syn])))))
                }
                services = [service(1000 * round..<1000 * round + 120)]
                if try !lab.plane.hasRoom(connections: Self.connections, services: services) {
                    lab = try Lab(directory: directory, capacity: capacity(services), services: services)
                    try lab.plane.publish()
                }
                try lab.apply(configuration(services))
                for (flow, server) in homes { #expect(try lab.send(flow.packet([.ack])) == server) }
            }
            #expect(use(lab)["servers"] == 600)
            #expect(lab.plane.maps.servers.count == 1024)
            // Rows without connections are released, and the others stay.
            for _ in 0..<4 { try lab.plane.sweep() }
            #expect(use(lab)["servers"] == 120 + Set(homes.map(\.server)).count)
        }
    }

    @Test("services are exchanged repeatedly") func servicesAreExchangedAgainAndAgain() throws {
        try withPinDirectory { directory in
            var services: [VirtualService] = []
            var lab: Lab?
            for round in 0...4 as ClosedRange<UInt16> {
                services = (0..<30).map { service(0..<1, port: 1000 * round + 1 + $0) }
                if try lab?.plane.hasRoom(connections: Self.connections, services: services) != true {
                    lab = try Lab(directory: directory, capacity: capacity(services), services: services)
                    try lab?.plane.publish()
                }
                try lab?.apply(configuration(services))
                let outcome = try lab?.run(flow(round, port: 1000 * round + 30).packet([.syn]))
                #expect(outcome?.moved["forwarded"] == 1)
            }
            #expect(lab?.plane.maps.services.count == 256)
        }
    }

    @Test("a refusal uses no rows") func aRefusalUsesNoRows() throws {
        try withPinDirectory { directory in
            let services = [service(0..<120)]
            let lab = try Lab(directory: directory, capacity: capacity(services))
            try lab.apply(configuration(services))
            let before = use(lab)
            let error = #expect(throws: BPFError.self) {
                try lab.plane.apply(services + [service(200..<336, port: 81)])
            }
            #expect(error?.code == ENOSPC)
            #expect(
                error?.operation.hasPrefix(
                    "find room for 136 more real servers: their table holds 120 rows, 0 of them of real servers that are "
                        + "removed, and 255 are the most; ") == true)
            #expect(throws: BPFError.self) {
                try lab.plane.apply(services + [service(2000..<3025, port: 81, by: .wlc)])
            }
            #expect(use(lab) == before)
            try lab.plane.apply(services + [service(200..<335, port: 81)])
            #expect(use(lab)["servers"] == 255)
        }
    }

    @Test("a service without slots uses no rows") func aServiceThatFindsNoSlotsUsesNoRows() throws {
        try withPinDirectory { directory in
            let services = [service(0..<100)]
            var capacity = capacity(services)
            // A Maglev table for 100 real servers has 16,381 slots.
            capacity.slotGroups = 1 << 13
            let lab = try Lab(directory: directory, capacity: capacity)
            try lab.apply(configuration(services))
            let before = use(lab)
            #expect(throws: BPFError.self) { try lab.plane.apply(services + [service(200..<300, port: 81)]) }
            for table in ["services", "servers"] { #expect(use(lab)[table] == before[table]) }
            #expect(try lab.send(flow(1).packet([.syn])) != nil)
            // A change of a present service that finds no room changes nothing, either.
            #expect(throws: BPFError.self) { try lab.plane.apply([service(50..<150)]) }
            #expect(use(lab)["servers"] == before["servers"])
            #expect(try lab.send(flow(2).packet([.syn])) != nil)
        }
    }
}
