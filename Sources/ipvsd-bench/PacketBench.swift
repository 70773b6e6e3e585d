import BPF
import DataPlane
import Glibc
import LoadBalancing
import Netlink

/// The measured programs and the tables that they share, attached to nothing.
final class PacketBench {
    static let servers = 16
    /// New flows are measured in runs of a quarter of the table, which is emptied between them.
    static let newFlowsAtOnce = 1 << 18

    private struct Measured {
        var name: String
        var descriptor: Int32
        var role: Role
    }

    private enum Role { case harness, floor, director }

    private let plane: XDPDataPlane
    private let harness: BPFObject
    private let nextPacket: BPFProgram
    private let slot: BPFMap<UInt32, UInt32>
    private let sequence: MappedArray<PacketSequence>
    private let flows: MappedArray<SIMD8<UInt64>>
    private let others: [OtherDirector]
    private let programs: [Measured]
    private let packets: Int
    private var freshFlow: UInt64 = 1 << 28

    init(beside files: [String], packets: Int) throws {
        self.packets = packets
        let directory = "/sys/fs/bpf/ipvsd-bench-\(getpid())"
        guard mkdir(directory, 0o700) == 0 else {
            throw Failure("make \(directory): \(String(cString: strerror(errno)))")
        }
        // Maps live on without their pins.
        defer { Self.removePins(directory) }
        plane = try XDPDataPlane(directory: directory, answersByRedirect: false)
        flows = try Self.map("flows", SIMD8<UInt64>.self, directory).memory(writable: true)
        let present = try plane.program()
        others = try files.map { try OtherDirector(file: $0, pins: directory, constantsOf: present) }

        harness = try BPFObject(.bench_packets)
        try harness.setPinPath("\(directory)/measured", ofMap: "measured")
        try harness.setPinPath("\(directory)/sequences", ofMap: "sequences")
        try harness.load()
        nextPacket = try harness.program(named: "next_packet")
        slot = try Self.map("measured", UInt32.self, directory)
        sequence = try Self.map("sequences", PacketSequence.self, directory).memory(writable: true)
        programs =
            try [
                Measured(
                    name: "harness", descriptor: harness.program(named: "nothing").descriptor, role: .harness),
                Measured(
                    name: "bare encapsulation", descriptor: harness.program(named: "bare_encapsulation").descriptor,
                    role: .floor),
                Measured(name: "ipvsd", descriptor: plane.program().descriptor, role: .director),
            ]
            + zip(files, others).map { Measured(name: $0, descriptor: $1.descriptor, role: .director) }
        try configure()
    }

    private static func map<Value>(_ name: String, _: Value.Type, _ directory: String) throws -> BPFMap<UInt32, Value> {
        guard let map = try BPFMap<UInt32, Value>(name: name, pinnedAt: "\(directory)/\(name)") else {
            throw Failure("no map \(name) below \(directory)")
        }
        return map
    }

    private static func removePins(_ directory: String) {
        if let stream = opendir(directory) {
            var names: [String] = []
            while let entry = readdir(stream) {
                names.append(
                    withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
                )
            }
            closedir(stream)
            for name in names where name != "." && name != ".." { unlink("\(directory)/\(name)") }
        }
        rmdir(directory)
    }

    private func configure() throws {
        guard let mac = MACAddress([2, 0, 0, 0, 0, 1]), let nextHop = MACAddress([2, 0, 0, 0, 0, 2]) else { return }
        var services: [DesiredService] = []
        for (vip, network) in [(PacketKind.transmitting, UInt32(0xAC10_0000)), (PacketKind.redirecting, 0xAC10_0100)] {
            let addresses = (1...UInt32(Self.servers)).map { IPv4Address(network + $0) }
            for transport in TransportProtocol.allCases {
                services.append(
                    DesiredService(
                        address: ServiceAddress(vip: vip, port: PacketKind.port, transport: transport), scheduler: .rr,
                        servers: addresses.map {
                            DesiredService.Server(address: $0, configuredWeight: 1, isDown: false)
                        }))
            }
        }
        try plane.apply(services)
        for server in Set(services.flatMap(\.servers).map(\.address)) {
            try plane.setPath(
                Path(
                    source: IPv4Address(0xCB00_7101), destination: server, interface: 1, sourceMAC: mac,
                    nextHopMAC: nextHop, mtu: 1500, transmits: server.value < 0xAC10_0100),
                to: server)
        }
        plane.setIngressMTU(1500)
    }

    // MARK: Measuring

    func run(_ kinds: [PacketKind], rounds: Int) throws -> PacketReport {
        var report = PacketReport(
            rounds: rounds, packets: packets, programs: programs.dropFirst().map(\.name), kinds: kinds.map(\.name))
        for round in 0..<rounds {
            for (row, kind) in kinds.enumerated() {
                // Nobody is always the one that finds warm caches.
                var times = [Double](repeating: 0, count: programs.count)
                for turn in programs.indices {
                    let index = (turn + round) % programs.count
                    times[index] = try measure(programs[index], kind, report: &report.rows[row])
                }
                report.rows[row].harness.append(times[0])
                for index in times.indices.dropFirst() {
                    report.rows[row].net[index - 1].append(times[index] - times[0])
                }
            }
        }
        return report
    }

    /// Fills the flow table with the kind's flows, by the director that is measured.
    private func prepare(_ program: Measured, _ kind: PacketKind) throws {
        forgetFlows()
        // Few at a time: a handshake that takes long on a busy machine may be evicted.
        let flows = kind.flows ?? 0
        for first in stride(from: 0, to: flows, by: 1 << 16) {
            for packet in kind.preparation {
                let times = min(flows - first, 1 << 16)
                _ = try run(program, packet, from: UInt64(first), flows: flows, times: times)
            }
        }
    }

    private func forgetFlows() {
        memset(flows.pointer(0), 0, flows.count * flows.stride)
    }

    /// Nanoseconds a packet, harness included.
    private func measure(_ program: Measured, _ kind: PacketKind, report: inout PacketReport.Row) throws -> Double {
        if program.role == .director { try prepare(program, kind) }
        let before = try Counts(plane)
        var nanoseconds: UInt64 = 0
        if let flows = kind.flows {
            nanoseconds = try timed(program, kind, from: 0, flows: flows, times: packets)
        } else {
            var left = packets
            while left > 0 {
                let times = min(left, Self.newFlowsAtOnce)
                if program.role == .director { forgetFlows() }
                nanoseconds += try timed(program, kind, from: freshFlow, flows: 0, times: times)
                freshFlow += UInt64(times)
                left -= times
            }
        }
        let moved = try Counts(plane) - before
        try check(moved, program, kind)
        if program.role == .director {
            report.bucketFull += moved.bucketFull
            report.directorPackets += UInt64(packets)
        }
        return Double(nanoseconds) / Double(packets)
    }

    private func timed(_ program: Measured, _ kind: PacketKind, from first: UInt64, flows: Int, times: Int) throws
        -> UInt64
    {
        let run = try run(program, kind.packet, from: first, flows: flows, times: times)
        let last = first + UInt64(times - 1)
        try check(run, program, kind, lastFlow: flows == 0 ? last : last % UInt64(flows), times: times)
        return run.cpuTime
    }

    private func run(_ program: Measured, _ packet: [UInt8], from first: UInt64, flows: Int, times: Int) throws
        -> RepeatedRun
    {
        try slot.update(UInt32(program.descriptor), for: 0)
        sequence[0] = PacketSequence(flow: first, flows: UInt64(flows), frame: UInt64(packet.count))
        return try nextPacket.run(packet: packet, times: times)
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
        withUnsafeBytes(of: UInt32(0x0A00_0000 + lastFlow >> 14).bigEndian) { inner.replaceSubrange(26..<30, with: $0) }
        withUnsafeBytes(of: UInt16(1024 + lastFlow & 0x3FFF).bigEndian) { inner.replaceSubrange(34..<36, with: $0) }
        try expect("the number of packets", seen.packets, UInt64(times))
        switch program.role {
        case .harness:
            try expect("the verdict", run.verdict, PacketKind.Outcome.passed.rawValue)
            try expect("the packet", run.packet, inner)
        case .director where kind.outcome == .passed:
            try expect("the verdict", run.verdict, PacketKind.Outcome.passed.rawValue)
            try expect("the number of encapsulated packets", seen.encapsulated, 0)
            try expect("the packet", run.packet, inner)
        case .floor, .director:
            let outcome = program.role == .floor ? .transmitted : kind.outcome
            try expect("the verdict", run.verdict, outcome.rawValue)
            // The last one's 20 bytes are still there.
            try expect("the number of encapsulated packets", seen.encapsulated, UInt64(times - 1))
            try expect("the inner packet", Array(run.packet.dropFirst(34)), Array(inner.dropFirst(14)))
            try expect("the outer protocol", run.packet[23], 4)
        }
    }

    private func check(_ moved: Counts, _ program: Measured, _ kind: PacketKind) throws {
        var wanted = Counts()
        if program.role == .director, kind.outcome != .passed {
            wanted.counters = ["received": UInt64(packets), "forwarded": UInt64(packets)]
            wanted.serverPackets = UInt64(packets)
            wanted.serverConnections = kind.flows == nil ? UInt64(packets) : 0
        }
        // A bucket may be full before the table is. That is rare, and shown.
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

        /// Of packets whose flow found its bucket full: a SYN or a datagram, the same with better luck, others of TCP.
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

/// Something is not as it has to be: the figures would be worth nothing.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
