internal import DataPlane
public import FoundationEssentials
public import HealthChecks
public import LoadBalancing
internal import ServiceConfiguration

/// All that monitoring asks for, at a moment.
public struct DirectorMetrics: Sendable {
    public struct Check: Sendable {
        public var service: ServiceAddress
        /// As in the log, "tcp:80", and the way where it is not the tunnel: "tcp:80 direct".
        public var name: String
        public var statistics: CheckStatistics
    }

    /// Scripts that were told of events, by how they ended.
    public struct Scripts: Sendable, Hashable {
        public var succeeded: UInt64 = 0
        /// With another exit code than 0, or they could not be started.
        public var failed: UInt64 = 0
        public var timedOut: UInt64 = 0
        /// Never started: too many waited.
        public var dropped: UInt64 = 0

        public init() {}
    }

    /// One of the data plane's.
    public struct Table: Sendable, Hashable {
        public var name: String
        public var size: Int
        public var used: Int
    }

    public var status: DirectorStatus
    /// In the configuration's order.
    public var standings: [(service: ServiceAddress, standing: DirectorEvent.Standing)]
    /// In the order of services and names.
    public var checks: [Check]
    public var scripts: Scripts
    public var events: [DirectorEvent.Kind: UInt64]
    public var tables: [Table]
    /// Of the daemon.
    public var started: Date
}

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
