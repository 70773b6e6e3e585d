/// A service that clients see as one: an address, the real servers behind it and the rule that selects among them.
public struct VirtualService: Hashable, Sendable, Codable {
    public var address: ServiceAddress
    public var scheduler: Scheduler
    public var flags: Set<SchedulerFlag>
    public var onServerLoss: ServerLoss
    /// Of the Maglev table, a prime (`MaglevTable.acceptedSizes`); nil: as the number of servers asks for.
    public var maglevSize: Int?
    /// The order counts: round robin visits servers in it, and least connections decides ties by it.
    public var servers: [RealServer]

    public init(
        address: ServiceAddress, scheduler: Scheduler, flags: Set<SchedulerFlag> = [],
        onServerLoss: ServerLoss = .keep, maglevSize: Int? = nil, servers: [RealServer]
    ) {
        self.address = address
        self.scheduler = scheduler
        self.flags = flags
        self.onServerLoss = onServerLoss
        self.maglevSize = maglevSize
        self.servers = servers
    }
}
