import Addresses
import DataPlane
import FoundationEssentials
import HealthChecks
import LoadBalancing
import Testing

@testable import Control
@testable import Director
@testable import XDPDataPlane

/// Names, types and labels of metrics. The wording of HELP is free.
struct MetricsTests {
    /// Labels whose values are names, not addresses.
    private static let named: Set = ["verdict", "reason", "event", "result", "le"]

    @Test("the names, types and labels of metrics are as recorded")
    func namesAndLabels() throws {
        try Snapshot.expect(try Self.lines(of: try Self.sample().text(version: "1")), in: "metrics.txt")
    }

    private static func sample() throws -> DirectorMetrics {
        var status = try Sample.status().filled
        for counter in PacketCounter.all {
            switch counter.group {
            case .received, .forwarded: break
            case .passed, .answered, .dropped: status.reasons[counter.name] = 1
            case .event: status.events[counter.name] = 1
            }
        }
        let service = ServiceAddress(vip: try Sample.address("10.0.0.100"), port: 80, transport: .tcp)
        return DirectorMetrics(
            status: status, standings: [(service, .init(up: 1, total: 1, weight: 1, quorum: 1))],
            checks: [.init(service: service, name: "tcp:80", statistics: CheckStatistics())], scripts: .init(),
            events: [:], tables: [.init(name: "connections", size: 1, used: 1)], started: Date(timeIntervalSince1970: 0)
        )
    }

    /// `NAME{LABEL, LABEL} TYPE` for each metric, and `NAME LABEL: VALUE` for labels whose values are names.
    private static func lines(of text: String) throws -> [String] {
        var lines: [String] = []
        var type = ""
        var seen: Set<String> = []
        for line in text.split(separator: "\n") {
            if line.hasPrefix("# TYPE ") {
                type = String(line.split(separator: " ")[3])
                let name = line.split(separator: " ")[2]
                // A metric without samples has no labels that could be seen.
                #expect(text.contains("\n\(name)"), "\(name) has no sample")
            }
            if line.hasPrefix("#") { continue }
            let name = line.prefix { $0 != "{" && $0 != " " }
            let labels = line.matches(of: /([a-z_]+)="((?:[^"\\]|\\.)*)"/).map { (name: $0.1, value: $0.2) }
            let all = labels.isEmpty ? "" : "{" + labels.map(\.name).joined(separator: ", ") + "}"
            let own =
                ["\(name)\(all) \(type)"]
                + labels.filter { named.contains(String($0.name)) }.map { "\(name) \($0.name): \($0.value)" }
            lines += own.filter { seen.insert($0).inserted }
        }
        return lines
    }
}
