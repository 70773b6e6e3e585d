public import FoundationEssentials
public import HealthChecks
public import LoadBalancing

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
