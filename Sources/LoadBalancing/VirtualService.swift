/// A service that clients see as one: its address, its real servers and the rule that selects among them.
public struct VirtualService: Hashable, Sendable {
    public var address: ServiceAddress
    /// The further addresses of the same service. All share its real servers, schedule and persistence.
    public var otherAddresses: [ServiceAddress]
    public var scheduler: Scheduler
    public var flags: Set<SchedulerFlag>
    public var onServerLoss: ServerLoss
    public var onServerRemoval: ServerRemoval
    public var persistence: Persistence?
    /// Whether every UDP datagram is scheduled by itself, without a recorded flow.
    public var isOnePacket: Bool
    /// The size of the Maglev table, a prime (`MaglevTable.acceptedSizes`). Nil means a size by the number of servers.
    public var maglevSize: Int?
    /// The real servers in order. Round robin uses the order for its turns, and least connections for ties.
    public var servers: [RealServer]
    /// Whether returning real servers get their share in steps, so that the service's tables need room for parts of
    /// weights. The director sets this for the data plane. In contrast, `isStartingSlowly` is true only while a server
    /// has less than its share.
    public var startsSlowly = false

    public init(
        address: ServiceAddress, scheduler: Scheduler, flags: Set<SchedulerFlag> = [],
        onServerLoss: ServerLoss = .keep, onServerRemoval: ServerRemoval = .move, persistence: Persistence? = nil,
        isOnePacket: Bool = false,
        otherAddresses: [ServiceAddress] = [], maglevSize: Int? = nil, servers: [RealServer]
    ) {
        self.address = address
        self.otherAddresses = otherAddresses
        self.persistence = persistence
        self.isOnePacket = isOnePacket
        self.scheduler = scheduler
        self.flags = flags
        self.onServerLoss = onServerLoss
        self.onServerRemoval = onServerRemoval
        self.maglevSize = maglevSize
        self.servers = servers
    }

    public var listeners: [ServiceAddress] { [address] + otherAddresses }
}

/// The treatment of the TCP connections of a real server that is down. Datagrams are scheduled anew in any case.
public enum ServerLoss: String, CaseIterable, Sendable, Codable {
    /// Connections stay, and continue if the server comes back before they expire.
    case keep
    /// The client's next packet gets a RST from the VIP.
    case reset
    /// The client's next packet goes to another server. That server resets the connection unless it knows the
    /// connection, too.
    case rehash
}

/// The treatment of the datagram flows of a real server that is no longer in use. Such a server was removed, is on
/// standby, or is drained, and the wait for its drain has ended. Its TCP connections continue in any case.
public enum ServerRemoval: String, CaseIterable, Sendable, Codable {
    /// The next datagram of a flow is scheduled anew.
    case move
    /// Datagrams stay, but the entries of their flows are no longer refreshed. Each flow ends within one UDP time-out,
    /// even if its client goes on sending.
    case finish
}
