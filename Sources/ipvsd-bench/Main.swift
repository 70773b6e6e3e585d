import ArgumentParser
import BPF

@main
struct IPVSDBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ipvsd-bench", abstract: "Measures ipvsd's packet program and tables.",
        discussion: """
            Without a subcommand packets, frames and scale, in one table. Instructions a packet, beside kernel IPVS in \
            the same guest, are counted by Tests/KernelLab/instructions.sh, which runs `ipvsd-bench frames` under QEMU \
            with a clock of executed instructions; Tests/KernelLab/failover.sh runs `ipvsd-bench failover` beside keepalived.
            """,
        subcommands: [
            AllCommand.self, PacketsCommand.self, FramesCommand.self, ScaleCommand.self, MaglevCommand.self,
            FloodCommand.self, FailoverCommand.self, ChecksCommand.self, ServeCommand.self,
        ],
        defaultSubcommand: AllCommand.self)
}

/// The options that all commands share.
struct BenchOptions: ParsableArguments {
    @Option(help: "Rounds. Each one measures everything, so that all ratios are of the same minutes.")
    var rounds = 5

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard (1...1000).contains(rounds) else { throw ValidationError("--rounds: 1 to 1000") }
    }

    func print(_ report: Report) throws { Swift.print(json ? try report.json() : report.table()) }
}

/// `ipvsd-bench` without a subcommand: one table of packets, frames and scale.
struct AllCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "all", abstract: "Packets, frames and scale, in one table.")

    @OptionGroup var options: BenchOptions

    @Option(help: "Packets of a measurement.")
    var packets = 1 << 20

    @Option(help: "Connections that the flow table is made for; kinds with more are left out.")
    var connections = 10_000_000

    func validate() throws {
        try PacketsCommand.validate(connections: connections)
        guard (1 << 16...1 << 30).contains(packets) else { throw ValidationError("--packets: 65536 to 1073741824") }
    }

    func run() throws {
        silenceLibbpf()
        var report = Report()
        report.sections.append(
            try PacketsCommand.section(rounds: options.rounds, packets: packets, connections: connections))
        report.sections += try ScaleCommand.sections(rounds: options.rounds, packets: packets / 4)
        // This section is the last one, as it moves the process into another network namespace.
        report.sections.append(
            try FramesCommand.section(rounds: options.rounds, frames: packets / 8, subjects: .xdp, unit: "ns"))
        try options.print(report)
    }
}
