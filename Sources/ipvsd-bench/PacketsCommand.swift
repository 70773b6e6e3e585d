import ArgumentParser
import BPF

/// `ipvsd-bench packets`: what a packet costs.
struct PacketsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "packets",
        abstract: "Nanoseconds of CPU time a packet, net of the harness, beside a bare encapsulation.",
        discussion: """
            Needs root, but no network: packets go through the program by BPF test runs. Every round measures every \
            program on every kind of packet; all figures are of these rounds, so their ratios hold on a busy machine \
            too. A run whose counters, verdicts or packets are not exactly what they have to be fails.
            """)

    @Option(help: "Rounds.")
    var rounds = 9

    @Option(help: "Packets of a measurement.")
    var packets = 1 << 20

    @Option(
        help: ArgumentHelp(
            "Measure also the director of another BPF object file with the same maps. Repeatable.", valueName: "file"))
    var beside: [String] = []

    @Option(help: ArgumentHelp("Only kinds of packets whose name contains this. Repeatable.", valueName: "text"))
    var only: [String] = []

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard rounds > 0 else { throw ValidationError("--rounds: at least 1") }
        guard (1 << 16...1 << 30).contains(packets) else { throw ValidationError("--packets: 65536 to 1073741824") }
        guard beside.count <= 7 else { throw ValidationError("--beside: at most 7 files") }
    }

    func run() throws {
        silenceLibbpf()
        let kinds = PacketKind.all.filter { kind in only.isEmpty || only.contains { kind.name.contains($0) } }
        guard !kinds.isEmpty else { throw ValidationError("--only: no kind of packets is named so") }
        let bench = try PacketBench(beside: beside, packets: packets)
        let report = try bench.run(kinds, rounds: rounds)
        print(json ? try report.json() : report.table())
    }
}
