/// A service that clients see as one: an address, the real servers behind it and the rule that selects among them.
public struct VirtualService: Hashable, Sendable {
    public var address: ServiceAddress
    /// Where else clients find the same service: its real servers, schedule and persistence are one.
    public var otherAddresses: [ServiceAddress]
    public var scheduler: Scheduler
    public var flags: Set<SchedulerFlag>
    public var onServerLoss: ServerLoss
    public var onServerRemoval: ServerRemoval
    public var persistence: Persistence?
    /// Every UDP datagram is scheduled by itself, and none is remembered.
    public var isOnePacket: Bool
    /// Of the Maglev table, a prime (`MaglevTable.acceptedSizes`); nil: as the number of servers asks for.
    public var maglevSize: Int?
    /// The order counts: round robin visits servers in it, and least connections decides ties by it.
    public var servers: [RealServer]
    /// A real server that comes back gets its share in steps, so the service's tables need room for parts of weights. The
    /// director sets it for the data plane; `isStartingSlowly` says whether one does so now.
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

/// What becomes of the TCP connections of a real server that is down. (Datagrams are scheduled anew in any case.)
public enum ServerLoss: String, CaseIterable, Sendable, Codable {
    /// They stay, and go on if the server comes back before they expire.
    case keep
    /// The client's next packet is answered by a RST from the VIP.
    case reset
    /// The client's next packet goes to another server, which resets the connection unless it knows of it.
    case rehash
}

/// What becomes of the datagram flows of a real server that is no longer in use. It was removed, it stands by, or the wait
/// for its drain has ended. Its TCP connections go on in any case.
public enum ServerRemoval: String, CaseIterable, Sendable, Codable {
    /// The next datagram of a flow is scheduled anew.
    case move
    /// Datagrams stay, but the entries of their flows are no longer refreshed. Each flow ends within one UDP time-out,
    /// however long its client goes on.
    case finish
}
