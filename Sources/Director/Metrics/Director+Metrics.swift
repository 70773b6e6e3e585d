internal import DataPlane
internal import FoundationEssentials
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// What monitoring asks for.
extension Director {
    /// Returns nil until the director has started. Changes nothing.
    public func metrics() throws -> DirectorMetrics? {
        guard let status = try describe(), let dataPlane = running?.dataPlane else { return nil }
        let checks = health.record.statistics.flatMap { service, statistics in
            // Checks that differ in what they expect alone have one name.
            Dictionary(statistics.map { ($0.key.name, $0.value) }, uniquingKeysWith: { $0.joined(with: $1) })
                .map { DirectorMetrics.Check(service: service, name: $0.key, statistics: $0.value) }
        }
        let flows = status.services.flatMap(\.servers).reduce(0) { $0 + Int($1.active) + Int($1.inactive) }
        return DirectorMetrics(
            status: status, standings: configuration.services.map { ($0.address, standing(of: $0.address)) },
            checks: checks.sorted { ($0.service.description, $0.name) < ($1.service.description, $1.name) },
            scripts: notifier.counts, events: events.counts,
            tables: [.init(name: "connections", size: status.flowTableSize, used: flows)]
                + dataPlane.tableUse.map { .init(name: $0.name, size: $0.size, used: $0.used) },
            started: publisher.started)
    }

}

extension Probe {
    /// The name of a series of measurements.
    fileprivate var name: String {
        via == .tunnel ? description : "\(self) \(via.rawValue)"
    }
}
