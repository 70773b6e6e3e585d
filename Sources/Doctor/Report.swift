internal import FoundationEssentials

/// The report on one side of a machine: real server or director.
public struct Report: Sendable {
    public enum Side: String, Sendable, Codable, CaseIterable {
        case realServer = "realserver"
        case director
    }

    public var side: Side
    public var findings: [Finding]
    /// Parts that could not be examined, with the reasons. They are not faults.
    public var unchecked: [String]

    public var isHealthy: Bool { findings.isEmpty }
}

extension [Report] {
    public var areHealthy: Bool { allSatisfy(\.isHealthy) }

    /// Returns the reports as text.
    public func text() -> String {
        var lines: [String] = []
        for report in self {
            let name = report.side == .realServer ? "real server" : "director"
            for finding in report.findings {
                lines.append("\(finding.fault.rawValue): \(finding.seen)")
                lines.append("    fix: \(finding.fix)" + (finding.repair == nil ? "" : "   (--fix does it)"))
            }
            lines += report.unchecked.map { "not checked: \($0)" }
            let count = report.findings.count
            lines.append("\(name): " + (count == 0 ? "healthy" : "\(count) fault\(count == 1 ? "" : "s")"))
        }
        return lines.joined(separator: "\n")
    }

    /// Returns the reports as JSON in UTF-8 with sorted keys. `repaired` has the repairs that were made.
    public func json(repaired: [String]) throws -> String {
        let contents = Encoded(
            healthy: areHealthy, sides: map(\.side),
            findings: flatMap { report in
                report.findings.map {
                    .init(
                        side: report.side, fault: $0.fault.rawValue, seen: $0.seen, fix: $0.fix,
                        repairable: $0.repair != nil)
                }
            }, unchecked: flatMap(\.unchecked), repaired: repaired)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(contents), as: UTF8.self)
    }
}

private struct Encoded: Encodable {
    struct Entry: Encodable {
        var side: Report.Side
        var fault: String
        var seen: String
        var fix: String
        var repairable: Bool
    }
    var healthy: Bool
    var sides: [Report.Side]
    var findings: [Entry]
    var unchecked: [String]
    var repaired: [String]
}

/// The parts that could not be examined, with the reasons.
final class Unchecked {
    private(set) var reasons: [String] = []

    func add(_ reason: String) { reasons.append(reason) }

    /// Examines one part. An error is collected, so that the other parts are still examined, and the result is nil.
    @discardableResult
    func examine<Value>(_ subject: String, _ body: () throws -> Value) -> Value? {
        do { return try body() } catch {
            add("\(subject): \(error)")
            return nil
        }
    }
}
