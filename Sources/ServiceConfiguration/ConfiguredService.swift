public import LoadBalancing

/// A service as configured: its forwarding, checks, policy and notification program.
public struct ConfiguredService: Equatable, Sendable {
    /// The listeners, real servers and scheduling.
    public var forwarding: VirtualService
    public var checks: ServiceChecks
    public var policy: ServicePolicy
    /// The program that runs at the service's events, or nil.
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

    /// The first listener, which names the service.
    public var address: ServiceAddress { forwarding.address }

    public var listeners: [ServiceAddress] { forwarding.listeners }

    public var servers: [RealServer] { forwarding.servers }
}

/// The program that runs at a service's events.
public struct NotificationScript: Hashable, Sendable {
    /// The program's absolute path, and its arguments.
    public var command: [String]
    /// The time after which the program is killed, with its process group.
    public var timeout: Duration
    /// Whether the program also runs for the first state of a service, once the first checks have ended.
    public var tellsAtStart: Bool

    public static let defaultTimeout = Duration.seconds(10)

    public init(command: [String], timeout: Duration = Self.defaultTimeout, tellsAtStart: Bool = false) {
        self.command = command
        self.timeout = timeout
        self.tellsAtStart = tellsAtStart
    }

    /// Returns `text`, a program's path. Refuses a path that is not absolute or has a NUL.
    static func program(_ text: String) throws(InvalidValue) -> String {
        guard text.hasPrefix("/"), !text.utf8.contains(0) else {
            throw InvalidValue("no absolute path", accepted: "/path/of/a/program")
        }
        return text
    }
}
