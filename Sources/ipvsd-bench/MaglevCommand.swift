import ArgumentParser
import LoadBalancing

/// `ipvsd-bench maglev`: the time to build a Maglev table, which happens off the packet path.
struct MaglevCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "maglev", abstract: "Milliseconds to build a Maglev table.")

    @Option(help: "The number of tables of each kind. Medians are printed.")
    var rounds = 9

    func validate() throws {
        guard rounds > 0 else { throw ValidationError("--rounds: at least 1") }
    }

    func run() {
        print("servers  weights  slots   ms, median (worst)")
        for (servers, size) in [(1000, 65537), (1000, 131_071), (1000, 655_373), (10, 4093)] {
            for (name, weights) in [("equal", 1...1), ("1-100", 1...100)] {
                let members = (0..<servers).map { number in
                    let spread = number * 37 % weights.count
                    return (key: 0x0a00_0001 + UInt64(number), weight: weights.lowerBound + spread)
                }
                let times = (0..<rounds).map { _ in
                    ContinuousClock().measure { _ = MaglevTable.build(members: members, size: size) }
                }.sorted()
                let milliseconds = [times[rounds / 2], times[rounds - 1]].map { time in
                    let tenths = (time.components.attoseconds / 100_000_000_000_000) + time.components.seconds * 10_000
                    return "\(tenths / 10).\(tenths % 10)"
                }
                print("\(servers)  \(name)  \(size)  \(milliseconds[0]) (\(milliseconds[1]))")
            }
        }
    }
}
