public import LoadBalancing

/// All that an operator asks of a director: the one value that flags and files become.
public struct DirectorConfiguration: Equatable, Sendable {
    public var services: [VirtualService]
    /// Where clients' packets come in. None: those of the VIPs' subnets, or else of the default route.
    public var interfaces: [String]
    public var xdp: XDPPreference
    /// Of services that `serviceChecks` does not name.
    public var checks: CheckPolicy
    /// By the services' addresses, the first of their listeners.
    public var serviceChecks: [ServiceAddress: ServiceChecks]
    /// Of services whose real servers are taken out and back in another way than the plain one, by their addresses.
    public var policies: [ServiceAddress: ServicePolicy]
    /// Unanswered SYNs trigger checks, and one repeated to a silent real server is scheduled anew.
    public var watchesSYNs: Bool
    /// Whether the director puts the VIPs on itself and announces them.
    public var managesAddress: Bool
    /// The outer source of tunnelled packets varies in this prefix by the flow; nil: it is the director's own address.
    public var outerSources: IPv4Prefix?
    /// For so many the flow table has room at ease.
    public var connections: Int
    public var timeouts: Timeouts
    /// While so many connections are half-open, new ones are not recorded: 0 for any number, nil for an eighth of the
    /// flow table.
    public var halfOpenLimit: Int?
    /// What is told of the services' events, by the services' addresses.
    public var notifications: [ServiceAddress: NotificationScript]
    /// Where metrics are served over TCP, besides the control socket; nil: nowhere.
    public var metricsListen: ListenAddress?

    public init(
        services: [VirtualService], interfaces: [String] = [], xdp: XDPPreference = .auto,
        checks: CheckPolicy = CheckPolicy(), serviceChecks: [ServiceAddress: ServiceChecks] = [:],
        policies: [ServiceAddress: ServicePolicy] = [:], watchesSYNs: Bool = true, managesAddress: Bool = true,
        outerSources: IPv4Prefix? = nil, connections: Int = ConnectionLimits.defaultConnections,
        timeouts: Timeouts = Timeouts(), halfOpenLimit: Int? = nil,
        notifications: [ServiceAddress: NotificationScript] = [:], metricsListen: ListenAddress? = nil
    ) {
        self.services = services
        self.interfaces = interfaces
        self.xdp = xdp
        self.checks = checks
        self.serviceChecks = serviceChecks
        self.policies = policies
        self.watchesSYNs = watchesSYNs
        self.managesAddress = managesAddress
        self.connections = connections
        self.timeouts = timeouts
        self.halfOpenLimit = halfOpenLimit
        self.notifications = notifications
        self.metricsListen = metricsListen
        self.outerSources = outerSources
    }

    /// Of every listener of every service.
    public var vips: Set<IPv4Address> { Set(services.flatMap(\.listeners).map(\.vip)) }

    public func checks(of service: ServiceAddress) -> ServiceChecks { serviceChecks[service] ?? .policy(checks) }

    public func policy(of service: ServiceAddress) -> ServicePolicy { policies[service] ?? ServicePolicy() }

    /// Real servers, and sorry servers.
    public var serverAddresses: Set<IPv4Address> {
        Set(services.flatMap { $0.servers.map(\.address) }).union(policies.values.compactMap(\.sorryServer))
    }

    /// Whether any service's real servers are asked anything.
    public var asksAnything: Bool { services.contains { checks(of: $0.address).asks } }
}
