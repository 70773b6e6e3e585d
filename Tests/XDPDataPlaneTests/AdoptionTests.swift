import Addresses
import BPF
import DataPlane
import Glibc
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// A second daemon on the pin directory of the first.
@MainActor
@Suite(.serialized, .needsRoot)
struct AdoptionTests {
    private static let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)
    private static let hashed = ServiceAddress(vip: Standard.main)
    private static let weighted = ServiceAddress(vip: Standard.strict, port: 80, transport: .tcp)

    private static func configuration(_ weights: [UInt16] = [1, 2, 3]) -> Configuration {
        let plain = (1...3 as ClosedRange<UInt8>).map { Standard.realServer($0) }
        let weighed = zip(1...3 as ClosedRange<UInt8>, weights).map { Standard.realServer($0, weight: $1) }
        return Configuration(
            services: [
                VirtualService(address: web, scheduler: .rr, servers: plain),
                VirtualService(address: hashed, scheduler: .mh, servers: plain),
                VirtualService(address: weighted, scheduler: .wrr, servers: weighed),
            ], paths: (1...3 as ClosedRange<UInt8>).map { Standard.path($0) })
    }

    private func flow(_ number: UInt16, _ vip: IPv4Address = Standard.main, port: UInt16 = 80) -> FlowKey {
        FlowKey(client: Standard.client, clientPort: 1000 + number, vip: vip, port: port)
    }

    /// A copy of the tables that the control plane writes, by table.
    private struct Memory {
        var tables: [String: [UInt8]]

        @MainActor init(_ lab: Lab) {
            func bytes<Value>(_ array: MappedArray<Value>) -> [UInt8] {
                Array(UnsafeRawBufferPointer(start: array.pointer(0), count: array.count * array.stride))
            }
            let maps = lab.plane.maps
            tables = [
                "settings": bytes(maps.settings), "schedules": bytes(maps.services), "slots": bytes(maps.slots),
                "servers": bytes(maps.servers), "paths": bytes(maps.nextHops), "loads": bytes(maps.connectionCounts),
            ]
        }

        /// Returns the numbers of the table's rows that differ. `row` is a row's size in bytes.
        func changes(from other: Memory, row: Int, in table: String) -> [Int] {
            guard let mine = tables[table], let others = other.tables[table] else { return [-1] }
            return (0..<(mine.count / row)).filter {
                mine[($0 * row)..<(($0 + 1) * row)] != others[($0 * row)..<(($0 + 1) * row)]
            }
        }
    }

    private func withTwoDaemons(_ body: (_ first: Lab, _ second: () throws -> Lab) throws -> Void) throws {
        try withPinDirectory { directory in
            let first = try Lab(directory: directory)
            try first.apply(Self.configuration())
            try body(first) { try Lab(directory: directory) }
        }
    }

    @Test("the next daemon keeps flows, ids and counters") func keepsFlowsIDsAndCounters() throws {
        try withTwoDaemons { first, makeSecond in
            let flows = (0..<50).map { $0 % 2 == 0 ? flow($0) : flow($0, Standard.strict) }
            let homes = try flows.map { try first.send($0.packet([.syn])) }
            _ = try first.run(flow(200).packet([.ack]))
            let before = try first.plane.snapshot()
            let ids = try Self.configuration().services.map { service in
                try service.servers.map { try first.serverID(service.address, $0.address.ipv4) }
            }

            let second = try makeSecond()
            let after = try second.plane.snapshot()
            #expect(after.counters == before.counters)
            #expect(after.services.map(\.address) == before.services.map(\.address))
            #expect(
                after.services.flatMap(\.servers).map(\.connections)
                    == before.services.flatMap(\.servers).map(\.connections))
            #expect(after.services.flatMap(\.servers).map(\.active) == before.services.flatMap(\.servers).map(\.active))
            #expect(second.seed == first.seed)

            // Packets go to the same real servers before the new daemon's first update and after it.
            for round in 0..<2 {
                for (flow, home) in zip(flows, homes) {
                    #expect(try second.send(flow.packet([.ack])) == home, "round \(round)")
                }
                try second.apply(Self.configuration())
            }
            let adopted = try Self.configuration().services.map { service in
                try service.servers.map { try second.serverID(service.address, $0.address.ipv4) }
            }
            #expect(adopted == ids)
            #expect(second.loads() == second.recount())
            try second.expectBalance()
        }
    }

    @Test("an unchanged state writes no row") func theSameStateWritesNothing() throws {
        try withTwoDaemons { first, makeSecond in
            for number in 0..<10 as Range<UInt16> { try first.send(flow(number).packet([.syn])) }
            let before = Memory(first)
            let second = try makeSecond()
            #expect(Memory(second).tables == before.tables)
            try second.apply(Self.configuration())
            let after = Memory(second)
            for table in before.tables.keys { #expect(after.tables[table] == before.tables[table], "\(table)") }
            // The order of the services does not matter either.
            var reversed = Self.configuration()
            reversed.services.reverse()
            try second.apply(reversed)
            #expect(Memory(second).tables == before.tables)
        }
    }

    @Test("a changed weight changes only its own rows") func changedWeightsChangeOnlyTheirOwn() throws {
        try withTwoDaemons { first, makeSecond in
            let before = Memory(first)
            let second = try makeSecond()
            try second.apply(Self.configuration([1, 5, 3]))
            let after = Memory(second)
            let service = try #require(try second.plane.snapshot().services.first { $0.address == Self.weighted })
            #expect(after.changes(from: before, row: 64, in: "schedules") == [Int(service.index)])
            let server = try second.serverID(Self.weighted, Standard.server(2))
            #expect(after.changes(from: before, row: MemoryLayout<ipvsd_server>.stride, in: "servers") == [Int(server)])
            let row = second.plane.maps.servers[Int(server)]
            #expect(row.weight == 5)
            #expect(row.configured_weight == 5)
            #expect(row.next_hop != 0)
            for table in ["settings", "paths", "loads"] {
                #expect(after.tables[table] == before.tables[table], "\(table)")
            }
            // The former slices stay for packets that still use them, and new slices are in free places.
            let old = before.tables["slots"] ?? [], new = after.tables["slots"] ?? []
            #expect(zip(old, new).allSatisfy { $0 == $1 || $0 == 0 })
        }
    }

    @Test("a server that goes down changes only its word") func aServerDownChangesItsWordOnly() throws {
        try withTwoDaemons { first, makeSecond in
            let second = try makeSecond()
            let before = Memory(first)
            var configuration = Self.configuration()
            configuration.services[0].effective = Standard.down([2])
            try second.apply(configuration)
            let after = Memory(second)
            let server = Int(try second.serverID(Self.web, Standard.server(2)))
            #expect(after.changes(from: before, row: MemoryLayout<ipvsd_server>.stride, in: "servers") == [server])
            let row = second.plane.maps.servers[server]
            #expect(row.weight == 0)
            #expect(row.configured_weight == 1)
            #expect(row.flags == UInt16(IPVSD_SERVER_USED | IPVSD_SERVER_DOWN))
        }
    }

    @Test("the word of a server in slow start has the withheld tenths", arguments: [(1, 9), (7, 3), (10, 0)])
    func slowStartsAreKnown(tenths: Int, withheld: UInt32) throws {
        try withTwoDaemons { first, makeSecond in
            var configuration = Self.configuration()
            configuration.services[2].startsSlowly = true
            let weight = configuration.services[2].servers[1].weight
            configuration.services[2].effective[.v4(Standard.server(2))] = .listed(weight: weight, tenths: tenths)
            try first.apply(configuration)
            let second = try makeSecond()
            let service = try #require(try second.plane.snapshot().services.first { $0.address == Self.weighted })
            for server in service.servers {
                #expect(server.tenths == (server.address == Standard.server(2) ? tenths : 10))
                #expect(server.effective.standing == .listed)
                #expect(!server.isRemoved)
            }
            let row = second.plane.maps.servers[Int(try second.serverID(Self.weighted, Standard.server(2)))]
            #expect(UInt32(row.flags) == IPVSD_SERVER_USED | withheld << UInt32(IPVSD_SERVER_WITHHELD_SHIFT))
        }
    }

    @Test("a removed server keeps its flows") func removedServersKeepTheirFlows() throws {
        try withTwoDaemons { first, makeSecond in
            let flows = (0..<9).map { flow($0) }
            let homes = try flows.map { try #require(try first.send($0.packet([.syn]))) }
            var configuration = Self.configuration()
            configuration.services[0].servers.removeLast()
            try first.apply(configuration)
            let second = try makeSecond()
            try second.apply(configuration)
            for (flow, home) in zip(flows, homes) { #expect(try second.send(flow.packet([.ack])) == home) }
            for number in 20..<40 as Range<UInt16> {
                #expect(try second.send(flow(number).packet([.syn])) != Standard.server(3))
            }
            let service = try #require(try second.plane.snapshot().services.first { $0.address == Self.web })
            #expect(service.servers.map(\.isRemoved) == [false, false, true])
        }
    }

    @Test("a removed service is gone") func removedServicesAreGone() throws {
        try withTwoDaemons { first, makeSecond in
            try first.send(flow(0, Standard.strict).packet([.syn]))
            let second = try makeSecond()
            var configuration = Self.configuration()
            configuration.services.removeLast()
            try second.apply(configuration)
            let outcome = try second.run(flow(0, Standard.strict).packet([.ack]))
            #expect(outcome.verdict == .pass)
            #expect(outcome.moved.isEmpty)
            // Packets for the removed service go to the any-port service of its VIP.
            configuration.services.removeFirst()
            try second.apply(configuration)
            #expect(try second.run(flow(1).packet([.syn])).moved["forwarded"] == 1)
            #expect(try second.plane.snapshot().services.map(\.address) == [Self.hashed])
            // The remaining flow names its server's row, which no other server gets.
            let used = second.recount().keys
            #expect(used.allSatisfy { second.plane.maps.servers[Int($0)].flags & UInt16(IPVSD_SERVER_USED) != 0 })
        }
    }

    /// The first daemon was killed after it had removed a service's keys, and before it removed the service's rows.
    @Test("rows without a service are released") func rowsWithoutAServiceAreReleased() throws {
        try withTwoDaemons { first, makeSecond in
            let service = try #require(try first.plane.snapshot().services.first { $0.address == Self.weighted })
            let key = ipvsd_listener_key(
                vip: Standard.strict.bigEndian, port: UInt16(80).bigEndian, protocol: 6, reserved: 0)
            try #require(try first.plane.maps.listeners.remove(key))
            let second = try makeSecond()
            var configuration = Self.configuration()
            configuration.services.removeLast()
            try second.apply(configuration)
            for _ in 0..<3 { try second.plane.sweep() }
            for server in service.servers {
                #expect(second.plane.maps.servers[Int(server.id)].flags & UInt16(IPVSD_SERVER_USED) == 0)
            }
        }
    }

    @Test("a changed path gets a new row") func pathsMoveToNewRows() throws {
        try withTwoDaemons { first, makeSecond in
            let old = first.plane.maps.servers[Int(try first.serverID(Self.web, Standard.server(1)))].next_hop
            let second = try makeSecond()
            let path = Standard.path(1) { ($0.mtu, $0.nextHopMAC) = (1400, mac(77)) }
            let before = second.plane.maps.nextHops[Int(old)]
            try second.plane.setPath(path, to: path.destination)
            for service in [Self.web, Self.hashed, Self.weighted] {
                let row = second.plane.maps.servers[Int(try second.serverID(service, path.destination))].next_hop
                #expect(row != old)
                #expect(row != 0)
                #expect(second.plane.maps.nextHops[Int(row)].mtu == 1400)
            }
            let after = second.plane.maps.nextHops[Int(old)]
            #expect(
                withUnsafeBytes(of: after.eth_addrs) { Array($0) }
                    == withUnsafeBytes(of: before.eth_addrs) { Array($0) })
            try second.plane.setPath(nil, to: path.destination)
            #expect(second.plane.maps.servers[Int(try second.serverID(Self.web, path.destination))].next_hop == 0)
        }
    }

    @Test("a daemon starts over an older one's tick program, which is a packet program, and replaces it")
    func olderTickProgram() throws {
        try withTwoDaemons { first, makeSecond in
            let directory = first.plane.directory
            let pin = XDPDataPlane.tickPin(directory: directory)
            try first.plane.program().pin(at: pin)
            #expect(try XDPDataPlane.tick(below: directory) == Verdict.pass.rawValue)
            let second = try makeSecond()
            try second.plane.publish()
            #expect(try BPFProgram(pinnedAt: pin)?.hasOwnContext() == true)
            let before = try second.plane.tick()
            let tick = try #require(try XDPDataPlane.tick(below: directory))
            let after = try second.plane.tick()
            #expect(before != 0)
            #expect(before <= tick)
            #expect(tick <= after)
        }
    }

    @Test("a data plane of another layout is refused") func anotherLayoutIsRefused() throws {
        try withTwoDaemons { first, makeSecond in
            first.plane.maps.settings.pointer(0).storeBytes(of: UInt32(IPVSD_ABI_VERSION + 1), as: UInt32.self)
            let error = #expect(throws: BPFError.self) { try makeSecond() }
            #expect(error?.code == EPROTO)
        }
    }
}
