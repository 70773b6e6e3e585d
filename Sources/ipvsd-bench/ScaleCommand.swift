import ArgumentParser
import BPF
import LoadBalancing
import XDPDataPlane

/// `ipvsd-bench scale`: the costs of many services, real servers and flows.
struct ScaleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scale", abstract: "Cost by the number of services and real servers, memory a flow, rebuilds.",
        discussion: "Packets go through the program by BPF test runs, as with `packets`.")

    @OptionGroup var options: BenchOptions

    @Option(help: "The number of packets of a measurement.")
    var packets = 1 << 18

    @Option(help: "Connections that the flow table is made for, to measure the memory of a flow.")
    var connections = ConnectionLimits.defaultConnections

    func validate() throws {
        guard (1...ConnectionLimits.maximumConnections).contains(connections) else {
            throw ValidationError("--connections: 1 to \(ConnectionLimits.maximumConnections)")
        }
        guard (1 << 16...1 << 30).contains(packets) else { throw ValidationError("--packets: 65536 to 1073741824") }
    }

    func run() throws {
        silenceLibbpf()
        try options.print(
            Report(sections: try Self.sections(rounds: options.rounds, packets: packets, connections: connections)))
    }

    static func sections(
        rounds: Int, packets: Int, connections: Int = ConnectionLimits.defaultConnections
    ) throws -> [Report.Section] {
        [
            try packetCost(rounds: rounds, packets: packets),
            try flowMemory(rounds: rounds, connections: connections),
            try rebuilds(rounds: rounds),
        ]
    }

    // MARK: A packet

    private struct Case {
        var kind: PacketKind
        var services: [VirtualService]
        /// The number by which the number of packets is divided, more than 1 for a slow case.
        var share = 1
    }

    private static func cases() -> [Case] {
        let vip = PacketKind.transmitting
        let network: UInt32 = 0xAC11_0000
        let ofServices = [1, 16, 256, XDPDataPlane.maximumServices].map { count in
            Case(
                kind: PacketKind(name: "TCP, 4 k flows, services: \(count)", vip: vip, flows: 4096, ports: count),
                services: services(count, servers: 1))
        }
        let servers = [1, 16, 256, 1000, 4096, 65_000]
        func ofServers(_ count: Int, _ scheduler: Scheduler, _ flows: Int?, _ name: String) -> Case {
            // For each new flow, wlc compares all real servers.
            let share = scheduler == .wlc && count > 16 ? 16 : 1
            return Case(
                kind: PacketKind(name: "TCP, \(name), \(scheduler), real servers: \(count)", vip: vip, flows: flows),
                services: [
                    BenchPlane.service(
                        vip: vip, port: PacketKind.port, scheduler: scheduler, network: network, servers: count)
                ], share: share)
        }
        return ofServices
            + servers.map { ofServers($0, .rr, 65_536, "64 k flows") }
            + servers.map { ofServers($0, .rr, nil, "new flows") }
            + servers.filter { $0 <= XDPDataPlane.maximumServersOfAService }.map {
                ofServers($0, .wlc, nil, "new flows")
            }
    }

    private static func packetCost(rounds: Int, packets: Int) throws -> Report.Section {
        let cases = cases()
        var made: [Set<VirtualService>: PacketBench] = [:]
        let benches = try cases.map { item in
            let bench =
                try made[Set(item.services)] ?? PacketBench(packets: packets / item.share, services: item.services)
            made[Set(item.services)] = bench
            return bench
        }
        var costs = zip(benches, cases).map { $0.costs(of: $1.kind) }
        for round in 0..<rounds {
            for index in costs.indices { try benches[index].measure(&costs[index], round: round) }
        }
        return Report.Section(
            title: "Scale, by test runs of \(packets)", unit: "ns of CPU time a packet, net of the harness",
            rounds: rounds,
            rows: zip(benches, costs).flatMap { bench, costs in
                costs.rows(programs: bench.programNames, oneFlow: nil).filter { $0.program == "ipvsd" }
            })
    }

    /// Returns `count` services of one VIP, each with a port of its own.
    private static func services(_ count: Int, servers: Int, scheduler: Scheduler = .rr) -> [VirtualService] {
        (0..<UInt16(count)).map {
            BenchPlane.service(
                vip: PacketKind.transmitting, port: PacketKind.port + $0, scheduler: scheduler, network: 0xAC11_0000,
                servers: servers)
        }
    }

    // MARK: Memory

    /// Measures the memory of a flow in a table that is filled with established flows.
    private static func flowMemory(rounds: Int, connections: Int) throws -> Report.Section {
        let bench = try PacketBench(packets: 1 << 16, connections: connections)
        let kind = PacketKind(name: "established TCP flows", vip: PacketKind.transmitting, flows: 1)
        let fillings = try (0..<rounds).map { _ in try bench.fill(kind) }
        let held = fillings.map { Double($0.held) }
        let bytes = Double(bench.tables.flowTableBytes)
        return Report.Section(
            title: "Memory of a flow table of \(bench.tables.flowCapacity) entries, \(Int(bytes)) bytes",
            unit: "flows held until 1 % of new ones find no place", rounds: rounds,
            rows: [
                Report.Row(
                    kind.name, "ipvsd", held,
                    [
                        Report.Figure(name: "bytes an entry", value: bytes / Double(bench.tables.flowCapacity)),
                        Report.Figure(name: "bytes a flow", value: bytes / held.median),
                        Report.Figure(
                            name: "refused of half as many flows as entries",
                            value: fillings.map { Double($0.refusedOfHalf) }.median),
                    ])
            ])
    }

    // MARK: Rebuilds

    private static func rebuilds(rounds: Int) throws -> Report.Section {
        var repeats: [(name: String, milliseconds: [Double])] = []
        for (size, count) in [(65_537, 1000), (655_373, 1000), (655_373, 16_000)] {
            let members = (0..<UInt64(count)).map { (key: $0 + 0xAC10_0001, weight: 1) }
            let times = (0..<rounds).map { _ in
                let start = threadTime()
                let table = MaglevTable.build(members: members, size: size)
                precondition(table.count == size)
                return Double(threadTime() - start) / 1e6
            }
            repeats.append(("Maglev table of \(size) entries, \(count) real servers", times))
        }
        let (count, servers) = (1000, 60)
        let tables = try BenchPlane(pins: PinDirectory(), services: services(count, servers: servers))
        let times = try (0..<rounds).map { round in
            var desired = services(count, servers: servers, scheduler: .wrr)
            // The weights differ from those of the previous round, so that every schedule is built anew.
            for index in desired.indices { desired[index].servers[0].weight = UInt16(2 + round % 2) }
            let start = threadTime()
            try tables.plane.apply(desired)
            return Double(threadTime() - start) / 1e6
        }
        repeats.append(("\(count) services of \(servers) real servers each applied", times))
        return Report.Section(
            title: "Rebuilds", unit: "ms of CPU time", rounds: rounds,
            rows: repeats.map { Report.Row($0.name, "ipvsd", $0.milliseconds) })
    }
}
