import FoundationEssentials

/// The figures of all deaths, and the lines that ipvsd has to meet: the limits of failed requests and of times.
struct FailoverReport: Encodable {
    var rate: Int
    var requests: Int
    var runs: [FailoverRun.Figures] = []
    /// The lines that ipvsd missed, as texts.
    var missed: [String] { runs.filter { $0.settings != "keepalived" }.flatMap { $0.missed(rate: rate) } }

    init(rate: Int, plan: FailoverRun.Plan) {
        self.rate = rate
        requests = rate * (plan.before + plan.after)
    }

    private enum CodingKeys: String, CodingKey { case rate, requests, runs, missed }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(rate, forKey: .rate)
        try container.encode(requests, forKey: .requests)
        try container.encode(runs, forKey: .runs)
        try container.encode(missed, forKey: .missed)
    }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }

    func table() -> String {
        let head = [
            "", "requests", "failed", "cut off", "slowest, s", "over 0.9 s", "out, s", "last SYN", "last packet",
            "others failed",
            "downloads disturbed",
        ]
        let rows = runs.map { run in
            [
                "\(run.settings): \(run.death)", "\(run.requests)", "\(run.failed)", "\(run.cutOff)",
                run.slowest.hundredths,
                "\(run.late)", run.ejection?.hundredths ?? "never", run.lastSYN?.hundredths ?? "-",
                run.lastPacket?.hundredths ?? "-", "\(run.failedElsewhere)",
                "\(run.disturbed.count) of \(run.downloads)",
            ]
        }
        let notes = runs.flatMap { run in run.disturbed.map { "\(run.settings), \(run.death): download from \($0)" } }
        return ([aligned([head] + rows), "", Self.lines(rate: rate)] + notes + verdict).joined(separator: "\n")
    }

    private var verdict: [String] {
        if runs.allSatisfy({ $0.settings == "keepalived" }) { return [] }
        return missed.isEmpty ? ["All lines are met."] : missed.map { "Missed: \($0)" }
    }

    private static func lines(rate: Int) -> String {
        """
        Cut off: failed requests that were connected to the server when it died.
        Lines: silent deaths fail at most 1 new connection in 10,000; a killed process at most rate x share x 0.3 s = \
        \(rate * 3 / 10 / FailoverLab.servers.count); out within 3 s; nothing through other servers is disturbed.
        """
    }
}

extension FailoverRun.Figures {
    fileprivate func missed(rate: Int) -> [String] {
        let isSilent = FailoverCase(rawValue: death)?.isSilent ?? true
        let allowed = isSilent ? requests / 10_000 : rate * 3 / 10 / FailoverLab.servers.count
        var missed: [String] = []
        if failed - cutOff > allowed {
            let kinds = failures.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
            missed.append("\(failed - cutOff) new connections failed, \(allowed) may (in all: \(kinds))")
        }
        if ejection.map({ $0 > 3 }) ?? true { missed.append("out after \(ejection?.hundredths ?? "the end")  s") }
        if failedElsewhere > 0 { missed.append("\(failedElsewhere) requests failed that went to other servers") }
        if !disturbed.isEmpty { missed.append("\(disturbed.count) downloads through other servers were disturbed") }
        return missed.map { "\(settings), \(death): \($0)" }
    }
}

extension Double {
    var hundredths: String {
        let value = Int((self * 100).rounded())
        let fraction = "\(100 + value % 100)".dropFirst()
        return "\(value / 100).\(fraction)"
    }
}

/// Returns the rows as text in columns. The first column is aligned to the left, the others to the right.
func aligned(_ rows: [[String]]) -> String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
        zip(row, widths).enumerated().map { column, cell in
            let padding = String(repeating: " ", count: cell.1 - cell.0.count)
            return column == 0 ? cell.0 + padding : padding + cell.0
        }.joined(separator: "  ")
    }.joined(separator: "\n")
}
