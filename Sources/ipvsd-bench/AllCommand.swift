import ArgumentParser
import BPF

/// `ipvsd-bench`: one table of everything that this machine can measure.
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
        // Last: it leaves the network namespace.
        report.sections.append(
            try FramesCommand.section(rounds: options.rounds, frames: packets / 8, subjects: .xdp, unit: "ns"))
        try options.print(report)
    }
}
