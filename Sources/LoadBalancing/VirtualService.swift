/// A service that clients see as one: an address, the real servers behind it and the rule that selects among them.
public struct VirtualService: Hashable, Sendable, Codable {
    public var address: ServiceAddress
    public var scheduler: Scheduler
    /// The order counts: round robin visits servers in it, and least connections decides ties by it.
    public var servers: [RealServer]

    public init(address: ServiceAddress, scheduler: Scheduler, servers: [RealServer]) {
        self.address = address
        self.scheduler = scheduler
        self.servers = servers
    }
}
