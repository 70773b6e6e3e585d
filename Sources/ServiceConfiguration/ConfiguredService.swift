public import LoadBalancing

/// One service as an operator asks for it: what is forwarded, how its real servers are checked, when they are taken out
/// and back, and which program is told of its events.
public struct ConfiguredService: Equatable, Sendable {
    /// The listeners, real servers and scheduling.
    public var forwarding: VirtualService
    public var checks: ServiceChecks
    public var policy: ServicePolicy
    /// The program that is told of the service's events; nil: none is.
    public var notification: NotificationScript?

    public init(
        _ forwarding: VirtualService, checks: ServiceChecks = .policy(CheckPolicy()),
        policy: ServicePolicy = ServicePolicy(), notification: NotificationScript? = nil
    ) {
        self.forwarding = forwarding
        self.checks = checks
        self.policy = policy
        self.notification = notification
    }

    /// The first listener, by which the service is named.
    public var address: ServiceAddress { forwarding.address }

    public var listeners: [ServiceAddress] { forwarding.listeners }

    public var servers: [RealServer] { forwarding.servers }
}
