import Addresses
import BPF
import DataPlane
import Glibc
import LoadBalancing
import Netlink
import Packets
import XDPDataPlane

/// The measurement of programs by test runs, with the tables that the programs share.
final class PacketBench {
    private struct Measured {
        var name: String
        var descriptor: Int32
        var role: Role
    }

    private enum Role {
        case harness, floor
        /// Katran, whose flow table and counters the benchmark does not read.
        case rival
        case director
    }

    let tables: BenchPlane
    private var plane: XDPDataPlane { tables.plane }
    private let harness: BPFObject
    private let nextPacket: BPFProgram
    private let slot: BPFMap<UInt32, UInt32>
    private let sequence: MappedArray<PacketSequence>
    private let others: [OtherDirector]
    private let katran: Katran?
    private let programs: [Measured]
    private let packets: Int
    private var freshFlow: UInt64 = 1 << 28

    init(
        beside files: [String] = [], katran katranFile: String? = nil, packets: Int,
        connections: Int = ConnectionLimits.defaultConnections,
        services: [VirtualService] = BenchPlane.standardServices
    ) throws {
        self.packets = packets
        let pins = try PinDirectory()
        tables = try BenchPlane(pins: pins, connections: connections, services: services)
        let present = try tables.plane.program()
        others = try files.map { try OtherDirector(file: $0, pins: pins.path, constantsOf: present) }

        katran = try katranFile.map { [capacity = tables.flowCapacity] in try Katran(file: $0, flows: capacity) }

        harness = try BPFObject(.bench_packets)
        for name in ["measured", "sequences"] { try harness.setPinPath("\(pins.path)/\(name)", ofMap: name) }
        try harness.setMaxEntries(tables.flowBuckets, ofMap: "director_flows")
        try harness.setPinPath(SharedMap.flows.pin(below: pins.path), ofMap: "director_flows")
        try harness.load()
        nextPacket = try harness.program(named: "next_packet")
        slot = try pins.map("measured", UInt32.self)
        sequence = try pins.map("sequences", PacketSequence.self).memory(writable: true)
        programs =
            try [
                Measured(
                    name: "harness", descriptor: harness.program(named: "nothing").descriptor, role: .harness),
                Measured(
                    name: "bare encapsulation", descriptor: harness.program(named: "bare_encapsulation").descriptor,
                    role: .floor),
                Measured(name: "ipvsd", descriptor: present.descriptor, role: .director),
                Measured(
                    name: "bare, and one bucket",
                    descriptor: harness.program(named: "bare_encapsulation_with_bucket").descriptor, role: .floor),
            ]
            + zip(files, others).map { Measured(name: $0, descriptor: $1.descriptor, role: .director) }
            + (katran.map { [Measured(name: "Katran", descriptor: $0.descriptor, role: .rival)] } ?? [])
    }

    /// The costs of one kind of packets.
    struct Costs {
        var kind: PacketKind
        /// The nanoseconds of CPU time of a packet, less those of the harness, by program and round. The harness has no
        /// row.
        var net: [[Double]]
        /// The number of the directors' packets whose flow found its bucket full.
        var bucketFull: UInt64 = 0
        var directorPackets: UInt64 = 0
    }

    func costs(of kind: PacketKind) -> Costs {
        Costs(kind: kind, net: Array(repeating: [], count: programs.count - 1))
    }

    var programNames: [String] { programs.dropFirst().map(\.name) }

    // MARK: Measuring

    /// Measures one round of one kind. The order of the programs changes with the round, so that none always has warm
    /// caches.
    func measure(_ costs: inout Costs, round: Int) throws {
        var times = [Double](repeating: 0, count: programs.count)
        for turn in programs.indices {
            let index = (turn + round) % programs.count
            times[index] = try measure(programs[index], costs.kind, &costs)
        }
        for index in times.indices.dropFirst() { costs.net[index - 1].append(times[index] - times[0]) }
    }

    /// Fills the flow table of the measured program, the director or Katran, with the kind's flows.
    private func prepare(_ program: Measured, _ kind: PacketKind) throws {
        if program.role == .director { tables.forgetFlows() }
        // The flows begin in batches, as a flow may be evicted when its handshake takes long.
        let flows = kind.flows ?? 0
        for first in stride(from: 0, to: flows, by: 1 << 16) {
            for packet in kind.preparation {
                let times = min(flows - first, 1 << 16)
                _ = try run(program, kind, packet, from: UInt64(first), flows: flows, times: times)
            }
        }
    }

    /// Returns the nanoseconds of CPU time of one packet, those of the harness included.
    private func measure(_ program: Measured, _ kind: PacketKind, _ costs: inout Costs) throws -> Double {
        if program.role == .director || program.role == .rival { try prepare(program, kind) }
        let before = try Counts(plane)
        var nanoseconds: UInt64 = 0
        if let flows = kind.flows {
            nanoseconds = try timed(program, kind, from: 0, flows: flows, times: packets)
        } else {
            var left = packets
            while left > 0 {
                // At most a quarter of the flow table is in use, so that few buckets are full.
                let times = min(left, tables.flowCapacity / 4)
                if program.role == .director { tables.forgetFlows() }
                nanoseconds += try timed(program, kind, from: freshFlow, flows: 0, times: times)
                freshFlow += UInt64(times)
                left -= times
            }
        }
        let moved = try Counts(plane) - before
        try check(moved, program, kind)
        if program.role == .director {
            costs.bucketFull += moved.bucketFull
            costs.directorPackets += UInt64(packets)
        }
        return Double(nanoseconds) / Double(packets)
    }

    private func timed(_ program: Measured, _ kind: PacketKind, from first: UInt64, flows: Int, times: Int) throws
        -> UInt64
    {
        let run = try run(program, kind, kind.packet, from: first, flows: flows, times: times)
        let last = first + UInt64(times - 1)
        try check(run, program, kind, lastFlow: flows == 0 ? last : last % UInt64(flows), times: times)
        return run.cpuTime
    }

    private func run(
        _ program: Measured, _ kind: PacketKind, _ packet: [UInt8], from first: UInt64, flows: Int, times: Int
    ) throws -> RepeatedRun {
        try slot.update(UInt32(program.descriptor), for: 0)
        sequence[0] = PacketSequence(
            flow: first, flows: UInt64(flows), frame: UInt64(packet.count), portMask: UInt64(kind.ports - 1),
            bucketMask: UInt64(tables.flowBuckets - 1))
        return try nextPacket.run(packet: packet, times: times)
    }

    // MARK: Filling

    /// Adds established flows to an empty flow table in batches of 1/64 of its entries. Ends with the first batch of
    /// which more than one flow in a hundred finds no place.
    func fill(_ kind: PacketKind) throws -> Filling {
        var filling = Filling()
        guard let program = programs.first(where: { $0.role == .director }) else { return filling }
        tables.forgetFlows()
        let batch = tables.flowCapacity / 64
        var sent = 0, refused = 0
        while sent < tables.flowCapacity {
            var fresh = kind
            fresh.flows = sent + batch
            let before = try Counts(plane)
            for packet in kind.preparation {
                _ = try run(program, fresh, packet, from: UInt64(sent), flows: sent + batch, times: batch)
            }
            let moved = try Counts(plane) - before
            let now = Int(moved.counters["flow-table-full", default: 0] + moved.counters["flow-evicted", default: 0])
            sent += batch
            refused += now
            if sent <= tables.flowCapacity / 2 { filling.refusedOfHalf = refused }
            filling.held = sent - refused
            if now > batch / 100 { break }
        }
        return filling
    }

    struct Filling {
        /// The number of flows that found a place.
        var held = 0
        /// The number of flows without a place among the first flows, which were half as many as the table's entries.
        var refusedOfHalf = 0
    }

    // MARK: Checking

    private func check(
        _ run: RepeatedRun, _ program: Measured, _ kind: PacketKind, lastFlow: UInt64, times: Int
    ) throws {
        func expect<Value: Equatable>(_ what: String, _ value: Value, _ wanted: Value) throws {
            guard value == wanted else {
                throw Failure("\(program.name), \(kind.name): \(what) is \(value), not \(wanted)")
            }
        }
        let seen = sequence[0]
        var inner = kind.packet
        inner[PacketKind.packetOffset...].write(IPv4Address(UInt32(0x0A00_0000 + lastFlow >> 14)), at: IPv4.source)
        let port = PacketKind.port + UInt16(truncatingIfNeeded: lastFlow) & UInt16(kind.ports - 1)
        inner[PacketKind.transportOffset...].write(UInt16(1024 + lastFlow & 0x3FFF), at: Ports.source)
        inner[PacketKind.transportOffset...].write(port, at: Ports.destination)
        try expect("the number of packets", seen.packets, UInt64(times))
        switch program.role {
        case .harness:
            try expect("the verdict", run.verdict, PacketKind.Outcome.passed.rawValue)
            try expect("the packet", run.packet, inner)
        case .director where kind.outcome == .passed, .rival where kind.outcome == .passed:
            try expect("the verdict", run.verdict, PacketKind.Outcome.passed.rawValue)
            try expect("the number of encapsulated packets", seen.encapsulated, 0)
            try expect("the packet", run.packet, inner)
        case .floor, .rival, .director:
            let outcome = program.role == .director ? kind.outcome : .transmitted
            try expect("the verdict", run.verdict, outcome.rawValue)
            // next_packet counts a packet when it sees the next one, so the last packet is missing from the count.
            try expect("the number of encapsulated packets", seen.encapsulated, UInt64(times - 1))
            let outer = run.packet.dropFirst(PacketKind.packetOffset)
            let sent = inner.dropFirst(PacketKind.packetOffset)
            try expect("the inner packet", IPv4.payload(of: outer) ?? [], sent)
            try expect("the outer protocol", outer[IPv4.protocolNumber], IPProtocol.ipip)
        }
    }

    private func check(_ moved: Counts, _ program: Measured, _ kind: PacketKind) throws {
        var wanted = Counts()
        if program.role == .director, kind.outcome != .passed {
            wanted.counters = ["received": UInt64(packets), "forwarded": UInt64(packets)]
            wanted.serverPackets = UInt64(packets)
            // A datagram whose flow's entry was evicted begins a new connection.
            let again = kind.transport == .udp ? moved.counters["flow-evicted", default: 0] : 0
            wanted.serverConnections = kind.flows == nil ? UInt64(packets) : again
        }
        // A bucket may be full before the table is. The report shows how often.
        guard moved.bucketFull < UInt64(packets / 10) else {
            throw Failure("\(kind.name): \(moved.bucketFull) packets found their bucket full")
        }
        let counters = moved.counters.filter { !Counts.ofFullBuckets.contains($0.key) }
        guard counters == wanted.counters, moved.serverPackets == wanted.serverPackets,
            moved.serverConnections == wanted.serverConnections
        else { throw Failure("\(program.name), \(kind.name): counted \(moved), not \(wanted)") }
    }

    private struct Counts {
        var counters: [String: UInt64] = [:]
        var serverPackets: UInt64 = 0
        var serverConnections: UInt64 = 0

        /// The counters of packets whose flow found its bucket full. The first one counts SYNs and datagrams that got
        /// no entry. The second one counts SYNs and datagrams that took another flow's entry. The third one counts
        /// later packets of TCP without an entry.
        static let ofFullBuckets = ["flow-table-full", "flow-evicted", "rederived-without-connection"]
        var bucketFull: UInt64 { Self.ofFullBuckets.reduce(0) { $0 + counters[$1, default: 0] } }

        init() {}

        init(_ plane: XDPDataPlane) throws {
            let snapshot = try plane.snapshot()
            counters = snapshot.counters
            for server in snapshot.services.flatMap(\.servers) {
                serverPackets += server.packets
                serverConnections += server.connections
            }
        }

        static func - (after: Counts, before: Counts) -> Counts {
            var moved = Counts()
            for (name, count) in after.counters where count != before.counters[name, default: 0] {
                moved.counters[name] = count - before.counters[name, default: 0]
            }
            moved.serverPackets = after.serverPackets - before.serverPackets
            moved.serverConnections = after.serverConnections - before.serverConnections
            return moved
        }
    }
}
