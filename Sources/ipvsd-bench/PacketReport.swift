import FoundationEssentials

/// What the rounds said.
struct PacketReport {
    struct Row {
        var name: String
        /// Nanoseconds a packet, one of each round.
        var harness: [Double] = []
        /// The same for each program, without the harness.
        var net: [[Double]]
        /// Of the directors' packets, those whose flow found its bucket full.
        var bucketFull: UInt64 = 0
        var directorPackets: UInt64 = 0
    }

    let rounds: Int
    let packets: Int
    /// The bare encapsulation, ipvsd, and what is beside it.
    let programs: [String]
    var rows: [Row]

    init(rounds: Int, packets: Int, programs: [String], kinds: [String]) {
        self.rounds = rounds
        self.packets = packets
        self.programs = programs
        self.rows = kinds.map { Row(name: $0, net: Array(repeating: [], count: programs.count)) }
    }

    private struct JSON: Encodable {
        struct Cost: Encodable {
            var program: String
            var median: Double
            var minimum: Double
            /// Of the medians.
            var timesFloor: Double
            var timesOneFlow: Double?
            /// Median of the rounds' differences.
            var savedBesideIpvsd: Double?
        }
        struct Kind: Encodable {
            var kind: String
            var harnessMedian: Double
            var shareOfFullBuckets: Double
            var costs: [Cost]
        }
        var unit = "nanoseconds of CPU time a packet, net of the harness"
        var rounds: Int
        var packets: Int
        var kinds: [Kind]
    }

    private var figures: JSON {
        let oneFlow = rows.first { $0.name == PacketKind.all[0].name }
        let kinds = rows.map { row in
            let floor = row.net[0].median
            let costs = programs.indices.map { index in
                let median = row.net[index].median
                return JSON.Cost(
                    program: programs[index], median: median, minimum: row.net[index].min() ?? 0,
                    timesFloor: median / floor, timesOneFlow: oneFlow.map { median / $0.net[index].median },
                    savedBesideIpvsd: index < 2 ? nil : zip(row.net[1], row.net[index]).map { $0 - $1 }.median)
            }
            return JSON.Kind(
                kind: row.name, harnessMedian: row.harness.median,
                shareOfFullBuckets: Double(row.bucketFull) / Double(max(row.directorPackets, 1)), costs: costs)
        }
        return JSON(rounds: rounds, packets: packets, kinds: kinds)
    }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        return String(decoding: try encoder.encode(figures), as: UTF8.self)
    }

    func table() -> String {
        let figures = figures
        var lines = [["", "median", "minimum", "x floor", "x 1 flow", "saved", "bucket full"]]
        for kind in figures.kinds {
            lines.append([kind.kind, "", "", "", "", "", "\((kind.shareOfFullBuckets * 100).rounded(1)) %"])
            for (index, cost) in kind.costs.enumerated() {
                lines.append([
                    "  \(cost.program)", cost.median.rounded(1), cost.minimum.rounded(1),
                    index == 0 ? "" : cost.timesFloor.rounded(2),
                    index == 0 ? "" : cost.timesOneFlow?.rounded(2) ?? "",
                    cost.savedBesideIpvsd?.rounded(1) ?? "", "",
                ])
            }
        }
        let widths = lines[0].indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        let text = lines.map { line in
            zip(line, widths).enumerated().map { column, cell in
                let padding = String(repeating: " ", count: cell.1 - cell.0.count)
                return column == 0 ? cell.0 + padding : padding + cell.0
            }.joined(separator: "  ")
        }
        let title = "\(figures.unit); \(rounds) rounds of \(packets) packets"
        return ([title] + text).joined(separator: "\n")
    }
}

extension [Double] {
    var median: Double {
        let sorted = sorted()
        guard let upper = sorted.dropFirst(count / 2).first else { return 0 }
        return count % 2 == 1 ? upper : (upper + sorted[count / 2 - 1]) / 2
    }
}

extension Double {
    fileprivate func rounded(_ digits: Int) -> String {
        let scale = digits == 1 ? 10.0 : 100.0
        let scaled = Int((self * scale).rounded())
        let fraction = String(abs(scaled) % Int(scale))
        let zeros = String(repeating: "0", count: digits - fraction.count)
        return "\(scaled < 0 ? "-" : "")\(abs(scaled) / Int(scale)).\(zeros)\(fraction)"
    }
}
