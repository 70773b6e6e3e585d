import ArgumentParser
import BPF

/// `ipvsd-bench frames`: live frames through a veth pair.
struct FramesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "frames",
        abstract: "Live frames through a veth pair and back, beside a bare reflector and the kernel's own forwarding.",
        discussion: """
            Runs in a network namespace of its own. Needs root, and iproute2 for the kernel's part. The time is that of \
            one CPU, for generator, veth, program and sink together. "net" is the time less that of the harness. Lost \
            frames fail the run.
            """)

    @OptionGroup var options: BenchOptions

    @Option(help: "The number of frames of a measurement.")
    var frames = 1 << 17

    @Flag(help: "Measure kernel IPVS, too (needs the modules ip_vs and ip_vs_rr, and ipvsadm).")
    var ipvs = false

    @Flag(help: "Measure the director beside a capture, too (needs a kernel that lets programs be traced).")
    var capture = false

    @Option(help: ArgumentHelp("The unit of the clock: ns, or instructions under such a clock.", valueName: "unit"))
    var unit = "ns"

    func validate() throws {
        guard (1 << 10...1 << 28).contains(frames) else { throw ValidationError("--frames: 1024 to 268435456") }
    }

    func run() throws {
        silenceLibbpf()
        let section = try Self.section(
            rounds: options.rounds, frames: frames,
            subjects: .xdp + (ipvs ? [.ipvs] : []) + (capture ? .captures : []), unit: unit)
        try options.print(Report(sections: [section]))
    }

    static func section(rounds: Int, frames: Int, subjects: [FrameSubject], unit: String) throws -> Report.Section {
        let bench = try FrameBench(frames: frames, subjects: subjects)
        var costs = PacketKind.frames.map { _ in subjects.map { _ in [Double]() } }
        for round in 0..<rounds {
            for (kindIndex, kind) in PacketKind.frames.enumerated() {
                // The order changes with the round, so that no subject always has warm caches.
                for turn in subjects.indices {
                    let index = (turn + round) % subjects.count
                    costs[kindIndex][index].append(try bench.measure(subjects[index], kind))
                }
            }
        }
        let rows = zip(PacketKind.frames, costs).flatMap { kind, costs in
            Self.rows(kind, subjects: subjects, costs: costs, unit: unit)
        }
        return Report.Section(
            title: "Live frames through veth, \(frames) at a time", unit: "\(unit) a frame in all", rounds: rounds,
            rows: rows)
    }

    private static func rows(_ kind: PacketKind, subjects: [FrameSubject], costs: [[Double]], unit: String)
        -> [Report.Row]
    {
        func net(_ subject: FrameSubject) -> Double? {
            guard let index = subjects.firstIndex(of: subject), let harness = subjects.firstIndex(of: .harness) else {
                return nil
            }
            return zip(costs[index], costs[harness]).map { $0 - $1 }.median
        }
        return zip(subjects, costs).map { subject, repeats in
            var derived: [Report.Figure] = []
            if unit == "ns" {
                derived.append(Report.Figure(name: "M frames/s", value: 1000 / repeats.median))
            }
            if subject != .harness, let own = net(subject) {
                derived.append(Report.Figure(name: "net", value: own))
                for (name, other) in [("x floor", FrameSubject.floor), ("x ipvsd", .director)] {
                    if let other = net(other) { derived.append(Report.Figure(name: name, value: own / other)) }
                }
            }
            return Report.Row(kind.name, subject.rawValue, repeats, derived)
        }
    }
}
