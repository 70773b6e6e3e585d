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

/// The program that is told of a service's events.
public struct NotificationScript: Hashable, Sendable {
    /// The program's absolute path, and its arguments.
    public var command: [String]
    /// After which it is killed, with its process group.
    public var timeout: Duration
    /// Whether it is also told how the service is at its start, once the first checks have ended.
    public var tellsAtStart: Bool

    public static let defaultTimeout = Duration.seconds(10)

    public init(command: [String], timeout: Duration = Self.defaultTimeout, tellsAtStart: Bool = false) {
        self.command = command
        self.timeout = timeout
        self.tellsAtStart = tellsAtStart
    }

    /// The path of a program, as it was typed.
    static func program(_ text: String) throws(InvalidValue) -> String {
        guard text.hasPrefix("/"), !text.utf8.contains(0) else {
            throw InvalidValue("no absolute path", accepted: "/path/of/a/program")
        }
        return text
    }
}
