internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// An operator's request for a drain, its end, or its progress.
public struct DrainRequest: Sendable, Hashable, Codable {
    /// The real server's address.
    public var server: String
    /// A listener of the one service that the request is for. Nil for all services.
    public var service: String?
    /// Whether to drain the real server even where that leaves a service with less than its quorum.
    public var force: Bool?
    /// Whether persistent clients move to other real servers with their next connection.
    public var movePersistent: Bool?
    /// Whether datagrams leave the real server, by the same rule as those of a removed server (`ServerRemoval`).
    public var moveDatagrams: Bool?
    /// Whether to refuse the request where the real server is not drained.
    public var onlyIfDrained: Bool?

    public init(server: String, service: String? = nil, force: Bool? = nil, movePersistent: Bool? = nil) {
        self.server = server
        self.service = service
        self.force = force
        self.movePersistent = movePersistent
    }

    func address() throws -> IPAddress {
        do { return try AddressText.address(server) } catch {
            throw DirectorError(.badValue, "\(ConfigurationError(place: server, error))")
        }
    }

    /// Returns the listener of the one service that the request is for, or nil for all services.
    func listener() throws -> ServiceAddress? {
        guard let service else { return nil }
        do { return try AddressText.service(service) } catch {
            throw DirectorError(.badValue, "\(ConfigurationError(place: "service \(service)", error))")
        }
    }
}

/// The progress of a real server's drain.
public struct DrainReport: Sendable, Hashable, Codable {
    public struct Service: Sendable, Hashable, Codable {
        /// The service's first listener.
        public var service: String
        /// The time of the drain in ISO 8601. Nil where the real server is not drained.
        @OrNull public var drained: String?
        /// The numbers of connections that are left.
        public var active: UInt32
        public var inactive: UInt32
        /// The time-out of persistence in seconds. A client's new connections stay at the real server for this time
        /// after the client's last packet, unless clients move. Nil where the service is not persistent.
        @OrNull public var persistence: Int?
        /// Whether persistent clients move to other real servers with their next connection.
        public var movesPersistent: Bool
    }

    public var server: String
    /// Whether the request has changed anything.
    public var changed: Bool
    /// Whether the data plane has all services as desired. False while the kernel refuses an update, which the daemon
    /// tries again every second.
    public var isInForce: Bool
    /// The services that have the real server, or only the service that the request names.
    public var services: [Service]

    enum CodingKeys: String, CodingKey {
        case server, changed, services
        case isInForce = "inForce"
    }

    public var active: Int { services.reduce(0) { $0 + Int($1.active) } }
    public var inactive: Int { services.reduce(0) { $0 + Int($1.inactive) } }
    public var isDrained: Bool { services.allSatisfy { $0.drained != nil } }
}
