internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// What an operator asks about a real server: a drain, its end, or how far it is.
public struct DrainRequest: Sendable, Hashable, Codable {
    /// The real server's address.
    public var server: String
    /// The one listener whose service is meant; nil: all services.
    public var service: String?
    /// Also where a service is left with less than its quorum.
    public var force: Bool?
    /// Its persistent clients are to go elsewhere with their next connection.
    public var movePersistent: Bool?
    /// Datagrams are to leave it, as they leave one that is removed.
    public var moveDatagrams: Bool?
    /// Refused where the real server is not drained by now.
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

    /// The one service that is meant; nil: all.
    func listener() throws -> ServiceAddress? {
        guard let service else { return nil }
        do { return try AddressText.service(service) } catch {
            throw DirectorError(.badValue, "\(ConfigurationError(place: "service \(service)", error))")
        }
    }
}

/// How a real server stands.
public struct DrainReport: Sendable, Hashable, Codable {
    public struct Service: Sendable, Hashable, Codable {
        /// The service's first listener.
        public var service: String
        /// ISO 8601; nil: it is not drained.
        @OrNull public var drained: String?
        /// Connections that are left.
        public var active: UInt32
        public var inactive: UInt32
        /// Seconds: for so long after a client's last packet its new connections go on coming, unless it moves.
        @OrNull public var persistence: Int?
        /// Persistent clients go elsewhere with their next connection.
        public var movesPersistent: Bool
    }

    public var server: String
    /// False: it was so before.
    public var changed: Bool
    /// False: the kernel refuses a change of the services, besides this one, which the daemon tries again every second.
    public var isInForce: Bool
    /// All that have the real server, or the one that was asked for.
    public var services: [Service]

    enum CodingKeys: String, CodingKey {
        case server, changed, services
        case isInForce = "inForce"
    }

    public var active: Int { services.reduce(0) { $0 + Int($1.active) } }
    public var inactive: Int { services.reduce(0) { $0 + Int($1.inactive) } }
    public var isDrained: Bool { services.allSatisfy { $0.drained != nil } }
}
