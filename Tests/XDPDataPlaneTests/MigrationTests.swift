import Addresses
import BPF
import DataPlane
import Glibc
import Layout3
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// The migration of a data plane of layout 3, which forwards packets meanwhile.
@MainActor
@Suite(.serialized, .needsRoot)
struct MigrationTests {
    private func migration(below directory: String) throws -> LayoutMigration {
        try #require(try LayoutMigration(below: directory, constants: MigrationLab.constants))
    }

    /// Runs `body` with flows of all listeners, begun by the program of layout 3.
    private func withLayout3(
        _ configuration: Configuration = MigrationLab.configuration, capacity: Capacity = .roomy, flows count: Int = 50,
        flowIDs: [UInt64: UInt16] = [:], _ body: (Layout3Lab, HomedFlows) throws -> Void
    ) throws {
        try withPinDirectory { directory in
            let old = try Layout3Lab(directory: directory, capacity: capacity, configuration, flowIDs: flowIDs)
            var flows = HomedFlows()
            try flows.begin(MigrationLab.mixed(count), by: old.plane.program())
            try body(old, flows)
        }
    }

    // MARK: What is carried over

    @Test("flows, counts, services and the totals of counters are carried over")
    func flowsCountsAndServicesAreCarriedOver() throws {
        try withLayout3 { old, flows in
            let (services, loads, totals) = (try old.lab.plane.snapshot().services, old.lab.loads(), try old.counters())
            #expect(loads == old.lab.recount())
            #expect(!loads.isEmpty)
            let new = try Lab(directory: old.directory)
            try new.plane.publish()
            let adopted = try new.plane.snapshot().services
            #expect(adopted.map(\.address) == services.map(\.address))
            #expect(adopted.flatMap(\.servers).map(\.active) == services.flatMap(\.servers).map(\.active))
            #expect(adopted.flatMap(\.servers).map(\.connections) == services.flatMap(\.servers).map(\.connections))
            #expect(new.loads() == loads)
            #expect(new.recount() == loads)
            let carried = try new.plane.maps.counterTotals()
            for counter in PacketCounter.all where counter.index < totals.count {
                #expect(carried[counter.name] == totals[counter.index], "\(counter.name)")
            }
            try flows.expectKept(by: new.plane.program())
            #expect(new.loads() == new.recount())
            try new.expectBalance()
            #expect(!new.plane.maps.isMigrating)
        }
    }

    @Test("weights, removed real servers and the configuration that comes next are as an adoption has them")
    func anotherConfigurationAtOnce() throws {
        try withLayout3 { old, flows in
            let new = try Lab(directory: old.directory)
            try new.apply(
                MigrationLab.configuration(
                    MigrationLab.service(MigrationLab.web, servers: [Standard.realServer(2)]),
                    MigrationLab.service(MigrationLab.any, .wlc), MigrationLab.service(MigrationLab.names)))
            try new.plane.publish()
            let service = try #require(try new.plane.snapshot().services.first { $0.address == MigrationLab.web })
            #expect(service.servers.filter { !$0.isRemoved }.map(\.address.ipv4) == [Standard.server(2)])
            for (flow, server) in flows.homes where flow.transport == .tcp {
                #expect(try new.send(flow.packet([.ack], payload: 1)) == server, "\(flow)")
            }
            #expect(try new.send(MigrationLab.flow(700).packet([.syn])) == Standard.server(2))
            #expect(new.loads() == new.recount())
        }
    }

    @Test("the tables grow in the start that migrates")
    func alsoLargerTablesAtOnce() throws {
        var small = Capacity.roomy
        small.flowBuckets = 1024
        try withLayout3(capacity: small, flows: 300) { old, flows in
            var larger = small
            (larger.flowBuckets, larger.listenerBuckets, larger.servers) = (8192, 8192, 16384)
            let new = try Lab(directory: old.directory, capacity: larger)
            try new.plane.publish()
            #expect(new.plane.maps.flows.count == 8192)
            try flows.expectKept(by: new.plane.program())
            #expect(new.loads() == new.recount())
            #expect(new.recount().values.reduce(0) { $0 + $1.active + $1.inactive } == 1200)
        }
    }

    @Test("a plane that was killed while its table grew is carried over with the flows of both tables")
    func aHalfGrownPlaneIsCarriedOver() throws {
        var small = Capacity.roomy
        small.flowBuckets = 1024
        try withLayout3(capacity: small, flows: 200) { old, first in
            var flows = first
            let grown = try old.plane.grown(flowBuckets: 4096)
            try flows.expectKept(by: grown.program(), every: 7)
            try flows.begin(MigrationLab.mixed(100, from: 1000), by: grown.program())
            let new = try Lab(directory: old.directory, capacity: small)
            try new.plane.publish()
            #expect(new.plane.maps.flows.count == 4096)
            #expect(!new.plane.maps.isMigrating)
            try flows.expectKept(by: new.plane.program())
            #expect(new.loads() == new.recount())
            #expect(new.recount().values.reduce(0) { $0 + $1.active + $1.inactive } == 1200)
        }
    }

    @Test("a plane whose daemon died before it wrote a version is begun anew")
    func aPlaneWithoutVersionBeginsAnew() throws {
        try withLayout3(flows: 1) { old, _ in
            old.lab.plane.maps.settings.pointer(0).storeBytes(of: 0, as: UInt32.self)
            let new = try Lab(directory: old.directory)
            try new.apply(MigrationLab.configuration)
            try new.plane.publish()
            #expect(try new.send(MigrationLab.flow(1).packet([.syn])) != nil)
            #expect(new.loads() == new.recount())
        }
    }

    @Test("a version that nobody has written yet is refused, and one of before layout 3 is, too", arguments: [2, 5])
    func unknownVersionsAreRefused(version: UInt32) throws {
        try withLayout3(flows: 1) { old, flows in
            old.lab.plane.maps.settings.pointer(0).storeBytes(of: version, as: UInt32.self)
            let error = #expect(throws: BPFError.self) { try Lab(directory: old.directory) }
            #expect(error?.code == EPROTO)
            #expect(error?.operation.contains("version \(version)") == true)
            try flows.expectKept(by: old.plane.program())
        }
    }

    @Test("a reader of today's shows a plane of layout 3")
    func readersOpenLayout3() throws {
        try withLayout3 { old, _ in
            let maps = try #require(try DirectorMaps(directory: old.directory, oldest: 3, writable: false))
            #expect(maps.layout == 3)
            let totals = try maps.counterTotals()
            let forwarded = try old.counters()[Int(IPVSD_FORWARDED.rawValue)]
            #expect(totals["forwarded"] == forwarded)
            #expect(throws: BPFError.self) { try DirectorMaps(directory: old.directory, writable: true) }
        }
    }

    // MARK: The keys of the flows

    @Test("flows of a second listener of a VIP and protocol get the key of the pair, all others keep theirs")
    func everySecondListenersFlowsGetTheirNewKeys() throws {
        try withLayout3 { old, flows in
            let former = try Dictionary(uniqueKeysWithValues: flows.homes.map { ($0.flow, try old.key(of: $0.flow)) })
            let new = try Lab(directory: old.directory)
            var moved = 0
            for (flow, _) in flows.homes {
                let entries = try new.entries(of: flow)
                try #require(entries.count == 1, "\(flow) has \(entries.count) entries")
                let key = try #require(former[flow])
                if entries[0].pointee.key != key { moved += 1 }
            }
            // The flows of one of the first VIP's two TCP listeners are moved.
            #expect(moved == 50)
            #expect(
                try new.key(of: MigrationLab.flow(1)) & 0xFFFF == new.key(of: MigrationLab.flow(1, port: 8080)) & 0xFFFF
            )
            #expect(
                try new.key(of: MigrationLab.flow(1)) & 0xFFFF != new.key(of: MigrationLab.flow(1, port: 1, .udp))
                    & 0xFFFF)
            #expect(new.recount().values.reduce(0) { $0 + $1.active + $1.inactive } == 200)
        }
    }

    /// The old program records these flows after the copy and after the claim. The new program finds them before and
    /// after their move.
    @Test(
        "flows that begin between the copy and the swap are found",
        arguments: [LayoutMigration.Step.copy, .pinPrograms, .claim])
    func flowsBegunAfterTheCopyAreFound(step: LayoutMigration.Step) throws {
        try withLayout3 { old, first in
            var flows = first
            let migration = try migration(below: old.directory)
            try migration.run(through: step)
            try flows.begin(MigrationLab.mixed(40, from: 500), by: old.plane.program())
            // The first bucket of this flow is full, so the flow is in its second bucket.
            let crowded = MigrationLab.flow(900)
            try old.fill(bucketsOfKey: old.key(of: crowded), both: false)
            try flows.begin([crowded], by: old.plane.program())
            try migration.run(through: .claim)
            try flows.begin(MigrationLab.mixed(10, from: 600), by: old.plane.program())
            let program = try migration.program()
            try flows.expectKept(by: program, "before the move")
            for (flow, server) in flows.homes {
                #expect(try MigrationLab.send(MigrationLab.icmpError(about: flow), by: program) == server, "\(flow)")
            }
            try migration.run()
            try flows.expectKept(by: program, "after the move")
            let new = try Lab(directory: old.directory)
            try flows.expectKept(by: new.plane.program(), "by the ordinary program")
            #expect(new.loads() == new.recount())
        }
    }

    @Test("packets find their flow before, while and after its bucket is moved")
    func packetsDuringTheMoveFindTheirFlow() throws {
        var small = Capacity.roomy
        // There is room for all flows, since a flow without room is rederived, and may change its server.
        small.flowBuckets = 4096
        try withLayout3(capacity: small, flows: 400) { old, flows in
            let migration = try migration(below: old.directory)
            try migration.run(through: .publish)
            let program = try migration.program()
            let maps = migration.maps
            var rekeying = try FlowRekeying(maps, now: old.lab.now)
            #expect(rekeying.isNeeded)
            for bucket in 0..<maps.flows.count {
                rekeying.move(bucket: bucket)
                guard bucket % 4 == 0 else { continue }
                // Some of these flows have been moved already, and others have not.
                let (flow, server) = flows.homes[bucket / 4 * 31 % flows.homes.count]
                #expect(try MigrationLab.send(flow.packet([.ack], payload: 3), by: program) == server, "\(flow)")
                let late = MigrationLab.flow(2000 + bucket / 4, port: bucket % 8 == 0 ? 80 : 8080)
                let home = try #require(try MigrationLab.send(late.packet([.syn]), by: program))
                #expect(try MigrationLab.send(late.packet([.ack], payload: 3), by: program) == home, "\(late)")
            }
            try flows.expectKept(by: program)
            try migration.run()
            let new = try Lab(directory: old.directory, capacity: small)
            try flows.expectKept(by: new.plane.program())
            #expect(new.loads() == new.recount())
            #expect(new.recount().values.reduce(0) { $0 + $1.active + $1.inactive } == 1600 + 1024)
        }
    }

    /// Flows keep the lower of the two listeners' numbers.
    @Test(
        "a flow from before its port was named gives way to the connection that came after",
        arguments: [nil, 60] as [UInt16?])
    func aStaleTwinGivesWay(anyPort number: UInt16?) throws {
        let flow = MigrationLab.flow(77)
        let flowIDs = number.map { [Layout3Lab.listener(flow, port: 0): $0] } ?? [:]
        try withLayout3(flows: 1, flowIDs: flowIDs) { old, _ in
            let server = try #require(try old.send(flow.packet([.syn])))
            try old.send(flow.packet([.ack], payload: 5))
            // The same flow has another entry with the any-port listener's number, at another real server.
            let other = try #require(MigrationLab.servers.map(\.address.ipv4).first { $0 != server })
            let id = try #require(old.plane.flowIDs[Layout3Lab.listener(flow, port: 0)])
            let key = ipvsd_flow_key(flow.client.bigEndian, flow.clientPort.bigEndian, id)
            try old.place(key, port: 80, server: old.lab.serverID(MigrationLab.any, other))
            #expect(old.lab.loads() == old.lab.recount())
            let new = try Lab(directory: old.directory)
            #expect(try new.entries(of: flow).count == 1)
            #expect(try new.send(flow.packet([.ack], payload: 5)) == server)
            #expect(new.loads() == new.recount())
        }
    }

    @Test("an expired flow takes no other one's place, whichever of the two is moved", arguments: [false, true])
    func anExpiredTwinGivesWay(isMoved: Bool) throws {
        try withLayout3(flows: 1) { old, _ in
            // The flow is of the listener whose flows are moved.
            let flows = [80, 8080].map { MigrationLab.flow(83, port: $0) }
            let flow = try #require(try flows.first { try !old.isFirst($0) })
            let address = flow.port == 80 ? MigrationLab.web : MigrationLab.any
            let servers = try (1...2).map { try old.lab.serverID(address, Standard.server($0)) }
            let keys = [try old.key(of: flow), try old.destinationKey(of: flow)]
            for (key, server) in zip(keys, servers) { try old.place(key, port: flow.port, server: server) }
            @MainActor func entries(_ key: UInt64) -> [UnsafeMutablePointer<ipvsd_flow>] {
                old.lab.places(ofKey: key).filter { $0.pointee.key == key && $0.pointee.value != 0 }
            }
            let expired = try #require(entries(keys[isMoved ? 0 : 1]).first)
            let value = expired.pointee.value
            expired.pointee.value = ipvsd_flow_value(
                value & IPVSD_FLOW_IDENTITY_MASK, ipvsd_flow_server(value), ipvsd_flow_state(value),
                try old.lab.now &- old.lab.timeout(IPVSD_STATE_ESTABLISHED) &- 100)
            let migration = try migration(below: old.directory)
            try migration.run()
            #expect(entries(keys[0]).isEmpty)
            #expect(entries(keys[1]).map { ipvsd_flow_server($0.pointee.value) } == [servers[isMoved ? 1 : 0]])
            #expect(old.lab.loads() == old.lab.recount())
        }
    }

    @Test("a flow for which there is no room under its new key is answered by Maglev and not reset")
    func aFlowWithoutRoomIsRederived() throws {
        try withLayout3(flows: 1) { old, _ in
            let first = try [80, 8080].map { MigrationLab.flow(78, port: $0) }.first { try !old.isFirst($0) }
            let flow = try #require(first)
            try #require(try old.send(flow.packet([.syn])) != nil)
            try old.send(flow.packet([.ack], payload: 5))
            try old.fill(bucketsOfKey: old.destinationKey(of: flow))
            #expect(old.lab.loads() == old.lab.recount())
            let new = try Lab(directory: old.directory)
            #expect(try new.entries(of: flow).isEmpty)
            #expect(new.loads() == new.recount())
            let met = try new.run(flow.packet([.ack], payload: 5))
            #expect(met.moved["forwarded"] == 1, "\(met.moved)")
            #expect(met.moved["rederived-without-connection"] == 1, "\(met.moved)")
        }
    }

    @Test("a connection that had no entry in layout 3 goes on", arguments: [80, 8080])
    func unrecordedConnectionsGoOn(port: UInt16) throws {
        try withLayout3(flows: 1) { old, _ in
            let flow = MigrationLab.flow(79, port: port)
            try old.fill(bucketsOfKey: old.key(of: flow))
            let server = try #require(try old.send(flow.packet([.syn])))
            #expect(try old.entries(of: flow).isEmpty)
            #expect(try old.send(flow.packet([.ack], payload: 1)) == server)
            let migration = try migration(below: old.directory)
            for step in [LayoutMigration.Step.claim, .publish, .finish] {
                try migration.run(through: step)
                #expect(try MigrationLab.send(flow.packet([.ack]), by: migration.program()) == server, "\(step)")
            }
            let new = try Lab(directory: old.directory)
            #expect(try new.send(flow.packet([.ack])) == server)
        }
    }

    // MARK: Counts and templates

    @Test("the totals of counters never fall while both programs count")
    func totalsNeverFall() throws {
        try withLayout3 { old, flows in
            let migration = try migration(below: old.directory)
            var last = try old.counters()[Int(IPVSD_RECEIVED.rawValue)], sent = last
            for step in LayoutMigration.Step.allCases {
                try migration.run(through: step)
                for (flow, _) in flows.homes.prefix(10) {
                    // Once the links have the new program, the old one handles no more packets.
                    let program = try step < .swap ? old.plane.program() : migration.program()
                    _ = try program.testRun(packet: flow.packet([.ack]).bytes)
                    sent += 1
                }
                let maps = try #require(try DirectorMaps(directory: old.directory, oldest: 3, writable: false))
                let total = try #require(try maps.counterTotals()["received"])
                #expect(total >= last, "after \(step)")
                last = total
            }
            #expect(last == sent)
        }
    }

    @Test("a persistent client that comes meanwhile stays at its real server")
    func aPersistentClientThatComesMeanwhileStays() throws {
        try withLayout3 { old, _ in
            func client(_ number: Int, port: UInt16) -> FlowKey {
                FlowKey(
                    client: IPv4Address(0xC633_6500 + UInt32(number)), clientPort: port, vip: Standard.hashed, port: 443
                )
            }
            func comes(_ number: Int, by program: BPFProgram) throws -> IPv4Address {
                let server = try #require(try MigrationLab.send(client(number, port: 1000).packet([.syn]), by: program))
                _ = try MigrationLab.send(client(number, port: 1000).packet([.ack], payload: 7), by: program)
                return server
            }
            var servers = try (0..<5).map { try comes($0, by: old.plane.program()) }
            let migration = try migration(below: old.directory)
            for step in LayoutMigration.Step.allCases {
                try migration.run(through: step)
                let program = try step < .swap ? old.plane.program() : migration.program()
                servers.append(try comes(servers.count, by: program))
            }
            let new = try Lab(directory: old.directory)
            for (number, server) in servers.enumerated() {
                #expect(try new.send(client(number, port: 2000).packet([.syn])) == server, "client \(number)")
            }
        }
    }

    @Test("a table that is full of persistent clients is carried over, without the clients whose time is over")
    func fullTemplatesAreCarriedOver() throws {
        var few = Capacity.roomy
        few.templates = 64
        try withLayout3(capacity: few, flows: 1) { old, _ in
            @MainActor func comes(_ clients: Range<Int>) throws {
                for number in clients {
                    let flow = FlowKey(
                        client: IPv4Address(0xC633_6500 + UInt32(number)), clientPort: 1000, vip: Standard.hashed,
                        port: 443)
                    try #require(try old.send(flow.packet([.syn])) != nil)
                }
            }
            let templates = old.lab.plane.maps.templates
            try comes(0..<30)
            let live = try templates.entries()
            var (key, template) = try #require(live.first)
            template.stamp &-= XDPDataPlane.ticks(seconds: 301)
            for number in 0..<20 as Range<UInt32> {
                key.client = number
                try templates.update(template, for: key)
            }
            let proven = Set(live.map(\.key.client)).intersection(try templates.keys().map(\.client))
            let migration = try migration(below: old.directory)
            try migration.run(through: .copy)
            let confirmed = try #require(migration.maps.confirmedTemplates)
            #expect(try Set(confirmed.keys().map(\.client)) == proven)
            #expect(!proven.isEmpty)
            // Clients that come during the migration are not proven.
            try comes(100..<200)
            try migration.run()
            #expect(try Set(confirmed.keys().map(\.client)) == proven)
        }
    }

    @Test("connection counts equal a recount at every step, whatever states the flows have")
    func countsEqualARecount() throws {
        try withLayout3 { old, flows in
            for (number, (flow, _)) in flows.homes.enumerated() where flow.transport == .tcp {
                if number % 5 == 0 { try old.send(flow.packet([.fin, .ack])) }
                if number % 7 == 0 { try old.send(flow.packet([.rst])) }
            }
            let migration = try migration(below: old.directory)
            for step in LayoutMigration.Step.allCases {
                try migration.run(through: step)
                #expect(old.lab.loads() == old.lab.recount(), "after \(step)")
                let program = try step < .swap ? old.plane.program() : migration.program()
                for flow in MigrationLab.mixed(5, from: 3000 + 100 * step.rawValue) {
                    _ = try MigrationLab.send(flow.packet([.syn], payload: 4), by: program)
                }
                #expect(old.lab.loads() == old.lab.recount(), "after packets that came after \(step)")
            }
            let halfOpen = old.flowStates().filter { $0 == IPVSD_STATE_SYN_RECV }.count
            #expect(old.lab.plane.maps.tableLoad[0].half_open == UInt32(halfOpen))
        }
    }
}
