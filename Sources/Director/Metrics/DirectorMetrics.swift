internal import DataPlane
public import FoundationEssentials
public import HealthChecks
public import LoadBalancing
internal import ServiceConfiguration

/// The values of all metrics at a moment.
public struct DirectorMetrics: Sendable {
    public struct Check: Sendable {
        public var service: ServiceAddress
        /// The check's name as in the log, such as "tcp:80". A way other than the tunnel is added, as in "tcp:80
        /// direct".
        public var name: String
        public var statistics: CheckStatistics
    }

    /// The numbers of notification scripts by result.
    public struct Scripts: Sendable, Hashable {
        public var succeeded: UInt64 = 0
        /// The scripts that ended with another exit code than 0, or could not be started.
        public var failed: UInt64 = 0
        public var timedOut: UInt64 = 0
        /// The scripts that were never started, as too many waited.
        public var dropped: UInt64 = 0

        public init() {}
    }

    /// The size and use of a table of the data plane.
    public struct Table: Sendable, Hashable {
        public var name: String
        public var size: Int
        public var used: Int
    }

    public var status: DirectorStatus
    /// The states of services, in the configuration's order.
    public var standings: [(service: ServiceAddress, standing: DirectorEvent.Standing)]
    /// The checks, in the order of services and names.
    public var checks: [Check]
    public var scripts: Scripts
    public var events: [DirectorEvent.Kind: UInt64]
    public var tables: [Table]
    /// The time of the daemon's start.
    public var started: Date
}

/// The collection of metrics.
extension Director {
    /// Returns the metrics, or nil until the director has started. Changes nothing.
    public func metrics() throws -> DirectorMetrics? {
        guard let status = try describe(), let dataPlane = running?.dataPlane else { return nil }
        let checks = health.record.statistics.flatMap { service, statistics in
            // Checks that differ only in the expected answer have the same name, and share a row.
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
