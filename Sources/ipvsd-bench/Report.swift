import FoundationEssentials

/// All figures of a run, as one table or as JSON.
struct Report: Encodable {
    var sections: [Section] = []

    struct Section: Encodable {
        var title: String
        var unit: String
        var rounds: Int
        var rows: [Row] = []
    }

    /// The figures of one program on one subject.
    struct Row: Encodable {
        var subject: String
        var program: String
        /// The figure of each round.
        var repeats: [Double]
        var median: Double
        var minimum: Double
        var maximum: Double
        /// The figures that are computed from the measured ones, such as a ratio of medians.
        var derived: [Figure]

        init(_ subject: String, _ program: String, _ repeats: [Double], _ derived: [Figure] = []) {
            self.subject = subject
            self.program = program
            self.repeats = repeats
            self.median = repeats.median
            self.minimum = repeats.min() ?? 0
            self.maximum = repeats.max() ?? 0
            self.derived = derived
        }
    }

    struct Figure: Encodable {
        var name: String
        var value: Double
    }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }

    func table() -> String { sections.map(\.table).joined(separator: "\n\n") }
}

extension Report.Section {
    fileprivate var table: String {
        var names: [String] = []
        for figure in rows.flatMap(\.derived) where !names.contains(figure.name) { names.append(figure.name) }
        var lines = [["", "median", "minimum", "maximum"] + names]
        var subject = ""
        for row in rows {
            if row.subject != subject {
                subject = row.subject
                lines.append([subject])
            }
            lines.append(
                ["  \(row.program)", row.median.text, row.minimum.text, row.maximum.text]
                    + names.map { name in row.derived.first { $0.name == name }?.value.text ?? "" })
        }
        let widths = lines[0].indices.map { column in
            lines.map { $0.count > column && $0.count > 1 ? $0[column].count : 0 }.max() ?? 0
        }
        let text = lines.map { line in
            line.count == 1
                ? line[0]
                : zip(line, widths).enumerated().map { column, cell in
                    let padding = String(repeating: " ", count: max(0, cell.1 - cell.0.count))
                    return column == 0 ? cell.0 + padding : padding + cell.0
                }.joined(separator: "  ")
        }
        return (["\(title): \(unit); median of \(rounds) rounds"] + text).joined(separator: "\n")
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
    /// The number with two digits after the point below 10, one digit below 1000, and none from 1000 on.
    fileprivate var text: String {
        let digits = abs(self) < 10 ? 2 : abs(self) < 1000 ? 1 : 0
        let scale = [1.0, 10.0, 100.0][digits]
        let scaled = Int((abs(self) * scale).rounded())
        let sign = self < 0 && scaled != 0 ? "-" : ""
        if digits == 0 { return "\(sign)\(scaled)" }
        let fraction = String(scaled % Int(scale))
        return "\(sign)\(scaled / Int(scale)).\(String(repeating: "0", count: digits - fraction.count))\(fraction)"
    }
}
