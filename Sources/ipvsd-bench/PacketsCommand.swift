import ArgumentParser
import BPF
import LoadBalancing

/// `ipvsd-bench packets`: the CPU time of a packet.
struct PacketsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "packets",
        abstract: "Nanoseconds of CPU time a packet, net of the harness, beside a bare encapsulation.",
        discussion: """
            Needs root, but no network: packets go through the program by BPF test runs. Each round measures all \
            programs on all kinds of packets, so that ratios hold on a busy machine, too. A run fails when a counter, \
            a verdict or a packet differs from the expected one.
            """)

    @OptionGroup var options: BenchOptions

    @Option(help: "The number of packets of a measurement.")
    var packets = 1 << 20

    @Option(help: "Connections that the flow table is made for; kinds with more are left out.")
    var connections = 10_000_000

    @Option(
        help: ArgumentHelp(
            "Measure also the director of another BPF object file with the same maps. Repeatable.", valueName: "file"))
    var beside: [String] = []

    @Option(
        help: ArgumentHelp(
            "Measure also Katran's balancer: in its repository, clang -target bpf -mcpu=v3 -O2 -g -D__KERNEL__ "
                + "-D__x86_64__ -DMAX_CONN_RATE=1000000000 -w -I. -isystem /usr/include/x86_64-linux-gnu -c "
                + "katran/lib/bpf/balancer.bpf.c. (At its own rate, 125,000 a second, it records no new flows.)",
            valueName: "file"))
    var katran: String?

    @Option(help: ArgumentHelp("Only kinds of packets whose name contains this. Repeatable.", valueName: "text"))
    var only: [String] = []

    func validate() throws {
        guard (1 << 16...1 << 30).contains(packets) else { throw ValidationError("--packets: 65536 to 1073741824") }
        try Self.validate(connections: connections)
        guard beside.count <= 7 else { throw ValidationError("--beside: at most 7 files") }
    }

    func run() throws {
        silenceLibbpf()
        let section = try Self.section(
            rounds: options.rounds, packets: packets, connections: connections, beside: beside, katran: katran,
            only: only)
        try options.print(Report(sections: [section]))
    }

    static func validate(connections: Int) throws {
        guard (100_000...ConnectionLimits.maximumConnections).contains(connections) else {
            throw ValidationError("--connections: 100000 to \(ConnectionLimits.maximumConnections)")
        }
    }

    static func section(
        rounds: Int, packets: Int, connections: Int, beside: [String] = [], katran: String? = nil, only: [String] = []
    )
        throws -> Report.Section
    {
        let bench = try PacketBench(beside: beside, katran: katran, packets: packets, connections: connections)
        let kinds = PacketKind.all(flowCapacity: bench.tables.flowCapacity).filter { kind in
            only.isEmpty || only.contains { kind.name.contains($0) }
        }
        guard !kinds.isEmpty else { throw ValidationError("--only: no kind of packets is named so") }
        var costs = kinds.map { bench.costs(of: $0) }
        for round in 0..<rounds {
            for index in costs.indices { try bench.measure(&costs[index], round: round) }
        }
        let oneFlow = costs.first { $0.kind.name == "TCP, 1 flow" }
        return Report.Section(
            title: "Packets, by test runs of \(packets) in a table of \(bench.tables.flowCapacity) flows",
            unit: "ns of CPU time a packet, net of the harness", rounds: rounds,
            rows: costs.flatMap { $0.rows(programs: bench.programNames, oneFlow: oneFlow) })
    }
}

extension PacketBench.Costs {
    /// Returns one row for each program. The first program is the floor, and the second is ipvsd. `oneFlow` has the
    /// costs of a single TCP flow; nil: the rows are not compared with them.
    func rows(programs: [String], oneFlow: Self?) -> [Report.Row] {
        let floor = net[0].median
        return programs.indices.map { index in
            var derived: [Report.Figure] = []
            if index > 0 {
                let median = net[index].median
                derived.append(Report.Figure(name: "x floor", value: median / floor))
                if let oneFlow {
                    derived.append(Report.Figure(name: "x 1 flow", value: median / oneFlow.net[index].median))
                }
                if index > 1 {
                    derived.append(Report.Figure(name: "x ipvsd", value: median / net[1].median))
                    let more = zip(net[index], net[1]).map { $0 - $1 }.median
                    derived.append(Report.Figure(name: "more than ipvsd", value: more))
                }
                if bucketFull > 0, index == 1 {
                    let share = Double(bucketFull) / Double(max(directorPackets, 1))
                    derived.append(Report.Figure(name: "bucket full, %", value: 100 * share))
                }
            }
            return Report.Row(kind.name, programs[index], net[index], derived)
        }
    }
}
