public import Addresses
public import FoundationEssentials
public import LoadBalancing

/// The operators' drains. They are not part of the configuration, and hold until `undrain`. Restarts, reloads and
/// reboots do not end them.
public struct Overrides: Sendable, Hashable, Codable {
    /// A drain of one real server.
    public struct Drain: Sendable, Hashable, Codable {
        public var server: IPAddress
        /// A listener of the one service that the drain is for. Nil for all services with the real server, also
        /// services that are configured later.
        public var service: ServiceAddress?
        public var since: Date
        /// Whether persistent clients move to other real servers with their next connection.
        var movesPersistent: Bool?
        /// Whether datagrams leave the real server, by the same rule as those of a removed server (`ServerRemoval`).
        var movesDatagrams: Bool?

        /// Returns whether the drain holds for the real server in the service, which may have another first listener by
        /// now.
        func holds(for server: IPAddress, in service: VirtualService) -> Bool {
            self.server == server && (self.service.map(service.listeners.contains) ?? true)
        }
    }

    /// The version of the file's format.
    static let version = 1

    private var version = Self.version
    public private(set) var drains: [Drain] = []

    public init() {}

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let version = try container.decode(Int.self, forKey: .version)
        guard version == Self.version else {
            throw DecodingError.dataCorruptedError(
                forKey: .version, in: container, debugDescription: "version \(version), mine is \(Self.version)")
        }
        drains = try container.decode([Drain].self, forKey: .drains)
    }

    public var isEmpty: Bool { drains.isEmpty }

    /// Returns the oldest drain that holds for the real server in the service, or nil.
    public func drain(of server: IPAddress, in service: VirtualService) -> Drain? {
        drains.filter { $0.holds(for: server, in: service) }.min { $0.since < $1.since }
    }

    /// Returns the service's drained real servers.
    public func drained(of service: VirtualService) -> Set<IPAddress> {
        Set(service.servers.map(\.address).filter { drain(of: $0, in: service) != nil })
    }

    public func movesPersistent(_ server: IPAddress, in service: VirtualService) -> Bool {
        drains.contains { $0.movesPersistent == true && $0.holds(for: server, in: service) }
    }

    public func movesDatagrams(_ server: IPAddress, in service: VirtualService) -> Bool {
        drains.contains { $0.movesDatagrams == true && $0.holds(for: server, in: service) }
    }

    /// Adds a drain, with `since` in whole seconds. A present drain of the same server and service only gains the moves
    /// of persistent clients and datagrams. A move ends only with its drain. Returns whether anything has changed.
    public mutating func drain(
        _ server: IPAddress, service: ServiceAddress?, since: Date, movesPersistent: Bool = false,
        movesDatagrams: Bool = false
    ) -> Bool {
        if let index = drains.firstIndex(where: { $0.server == server && $0.service == service }) {
            let before = drains[index]
            if movesPersistent { drains[index].movesPersistent = true }
            if movesDatagrams { drains[index].movesDatagrams = true }
            return drains[index] != before
        }
        let seconds = since.timeIntervalSince1970.rounded(.down)
        drains.append(
            Drain(
                server: server, service: service, since: Date(timeIntervalSince1970: seconds),
                movesPersistent: movesPersistent ? true : nil, movesDatagrams: movesDatagrams ? true : nil))
        return true
    }

    /// Ends the drain of the real server in one service, or all drains of the real server where `service` is nil.
    /// Returns false where there was no such drain.
    public mutating func undrain(_ server: IPAddress, service: VirtualService?) -> Bool {
        let before = drains.count
        drains.removeAll { drain in
            drain.server == server
                && (service.map { service in drain.service.map(service.listeners.contains) ?? false } ?? true)
        }
        return drains.count != before
    }
}
