import FoundationEssentials
import Testing

/// The names in the Grafana dashboard of the examples, against the snapshot of the metrics.
struct DashboardTests {
    /// The labels of each metric, by the metric's name.
    private let labels: [String: Set<String>]
    private let expressions: [String]

    init() throws {
        let snapshot = try String(contentsOfFile: Snapshot.sibling("Snapshots/metrics.txt"), encoding: .utf8)
        var labels: [String: Set<String>] = [:]
        for match in snapshot.matches(of: /(?m)^(ipvsd_\w+)(?:\{([^}]*)\})? (?:counter|gauge|histogram)$/) {
            labels[String(match.1)] = Set((match.2 ?? "").split(separator: ", ").map(String.init))
        }
        self.labels = labels
        let path = Snapshot.sibling("../../examples/grafana-dashboard.json")
        let dashboard = try JSONDecoder().decode(Dashboard.self, from: Data(contentsOf: URL(filePath: path)))
        expressions = dashboard.panels.flatMap { $0.targets.map(\.expr) }
    }

    @Test("each metric of the dashboard is one that the daemon exports")
    func metrics() throws {
        try #require(!labels.isEmpty)
        try #require(!expressions.isEmpty)
        for expression in expressions {
            let names = expression.matches(of: /ipvsd_\w+/).map { String($0.0) }
            #expect(!names.isEmpty, "\(expression) has no metric")
            for name in names { #expect(labels[name] != nil, "no metric \(name) in \(expression)") }
        }
    }

    @Test("each label of the dashboard's expressions is one of their metrics")
    func labelNames() {
        for expression in expressions {
            // Prometheus adds the label instance.
            let known = expression.matches(of: /ipvsd_\w+/).reduce(into: Set(["instance"])) { known, match in
                known.formUnion(labels[String(match.0)] ?? [])
            }
            let matched = expression.matches(of: /(\w+)=~?"/).map { String($0.1) }
            let grouped = expression.matches(of: /by \(([^)]*)\)/).flatMap { match in
                match.1.split(separator: ", ").map(String.init)
            }
            for label in matched + grouped { #expect(known.contains(label), "no label \(label) in \(expression)") }
        }
    }

    private struct Dashboard: Decodable {
        let panels: [Panel]
    }

    private struct Panel: Decodable {
        let targets: [Target]
    }

    private struct Target: Decodable {
        let expr: String
    }
}
