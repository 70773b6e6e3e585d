public import LoadBalancing

/// A service as the packet program is to have it.
public struct DesiredService: Sendable, Hashable {
    public struct Server: Sendable, Hashable {
        public var address: IPv4Address
        public var configuredWeight: UInt16
        /// Of a real server that is out: it gets no new flows, and SYNs of its flows are scheduled anew.
        public var isDown: Bool
        public var thresholds: ConnectionThresholds?
        /// In no table, as if it were not configured; its connections go on.
        public var isStandby = false
        /// Its persistent clients go elsewhere with their next connection: as with IPVS's expire_quiescent_template=1.
        public var movesPersistent = false
        /// Instead of the configured one.
        public var ownWeight: UInt16?
        /// Of its share, while it starts slowly (`SlowStart`).
        public var tenths = SlowStart.whole

        public init(
            address: IPv4Address, configuredWeight: UInt16, isDown: Bool, thresholds: ConnectionThresholds? = nil
        ) {
            self.address = address
            self.configuredWeight = configuredWeight
            self.isDown = isDown
            self.thresholds = thresholds
        }

        public init(
            address: IPv4Address, configuredWeight: UInt16, effective: EffectiveWeight,
            thresholds: ConnectionThresholds? = nil
        ) {
            self.init(
                address: address, configuredWeight: configuredWeight, isDown: effective.standing == .down,
                thresholds: thresholds)
            isStandby = effective.standing == .standby
            if effective.standing == .listed, effective.weight != configuredWeight { ownWeight = effective.weight }
            tenths = effective.tenths
        }

        var weight: UInt16 { isDown || isStandby ? 0 : ownWeight ?? configuredWeight }
    }

    public var address: ServiceAddress
    /// Where else clients find the same service: its real servers, schedule and persistence are one.
    public var otherAddresses: [ServiceAddress]
    public var scheduler: Scheduler
    public var flags: Set<SchedulerFlag>
    public var onServerLoss: ServerLoss
    public var persistence: Persistence?
    /// Every UDP datagram is scheduled by itself, and none is remembered.
    public var isOnePacket: Bool
    /// Nil: as the number of servers asks for.
    public var maglevSize: Int?
    /// Its tables need room for parts of weights.
    public var startsSlowly = false
    public var servers: [Server]

    public init(
        address: ServiceAddress, scheduler: Scheduler, flags: Set<SchedulerFlag> = [],
        onServerLoss: ServerLoss = .keep, persistence: Persistence? = nil, isOnePacket: Bool = false,
        otherAddresses: [ServiceAddress] = [], maglevSize: Int? = nil, servers: [Server]
    ) {
        self.address = address
        self.otherAddresses = otherAddresses
        self.persistence = persistence
        self.isOnePacket = isOnePacket
        self.scheduler = scheduler
        self.flags = flags
        self.onServerLoss = onServerLoss
        self.maglevSize = maglevSize
        self.servers = servers
    }

    public var listeners: [ServiceAddress] { [address] + otherAddresses }
}

extension Scheduler {
    /// It looks at each real server, in turn.
    var comparesServers: Bool { [.lc, .wlc, .sed, .nq, .fo, .ovf, .lblc, .lblcr].contains(self) }
}
