public import Addresses
internal import HealthChecks
public import LoadBalancing

/// The configuration of a director, as the flags or the configuration file give it.
public struct DirectorConfiguration: Equatable, Sendable {
    public var services: [ConfiguredService]
    /// The names of the interfaces on which clients' packets arrive. If the list is empty, the director takes the
    /// interfaces of the VIPs' subnets, or else the interface of the default route.
    public var interfaces: [String]
    public var xdp: XDPPreference
    /// Whether SYNs without an ACK trigger a check of their real server, and repeated SYNs are rescheduled.
    public var watchesSYNs: Bool
    /// Whether the director adds the VIPs to its machine and announces them.
    public var managesAddress: Bool
    /// The prefix in which the outer source address varies by the flow. Nil means the director's own address for all
    /// flows.
    public var outerSources: IPPrefix?
    /// The number of connections for which the flow table has room.
    public var connections: Int
    public var timeouts: Timeouts
    /// The number of half-open connections from which on new connections are recorded only once they carry data. 0
    /// means no limit, and nil means an eighth of the flow table.
    public var halfOpenLimit: Int?
    /// The TCP address at which the director serves metrics. Nil means that only the control socket serves them.
    public var metricsListen: ListenAddress?
    public var logFormat: LogFormat
    /// The places of VIPs and real servers in flags or the file.
    public var places = WrittenPlaces()

    public init(
        services: [ConfiguredService] = [], interfaces: [String] = [], xdp: XDPPreference = .auto,
        watchesSYNs: Bool = true,
        managesAddress: Bool = true, outerSources: IPPrefix? = nil,
        connections: Int = ConnectionLimits.defaultConnections, timeouts: Timeouts = Timeouts(),
        halfOpenLimit: Int? = nil, metricsListen: ListenAddress? = nil, logFormat: LogFormat = .text
    ) {
        self.services = services
        self.interfaces = interfaces
        self.xdp = xdp
        self.watchesSYNs = watchesSYNs
        self.managesAddress = managesAddress
        self.connections = connections
        self.timeouts = timeouts
        self.halfOpenLimit = halfOpenLimit
        self.metricsListen = metricsListen
        self.logFormat = logFormat
        self.outerSources = outerSources
    }

    /// The VIPs of all listeners.
    public var vips: Set<IPAddress> { Set(services.flatMap(\.listeners).map(\.vip)) }

    /// The services by listener. A service is there once for each of its listeners.
    public var servicesByListener: [ServiceAddress: ConfiguredService] {
        Dictionary(
            services.flatMap { service in service.listeners.map { ($0, service) } },
            uniquingKeysWith: { first, _ in first })
    }

    /// Returns the service whose first listener is `address`, or nil.
    public subscript(address: ServiceAddress) -> ConfiguredService? { services.first { $0.address == address } }

    /// The addresses of all real servers and sorry servers.
    public var serverAddresses: Set<IPAddress> {
        Set(services.flatMap { $0.servers.map(\.address) }).union(services.compactMap(\.policy.sorryServer))
    }

    /// Whether real servers of any service are checked.
    public var asksAnything: Bool { services.contains(where: \.checks.asks) }
}

extension DirectorConfiguration {
    /// The remarks on a configuration without errors: each names a regular expression that PCRE2 may read differently.
    public var notes: [String] {
        services.flatMap { service -> [String] in
            guard case .listed(let checks) = service.checks else { return [] }
            return checks.flatMap { check -> [String] in
                guard case .http(let http) = check.check else { return [] }
                return http.body.compactMap { expectation in
                    guard case .matches(let pattern) = expectation, !pattern.changes.isEmpty else { return nil }
                    let expression = AddressText.quoted(pattern.description)
                    return
                        "\(service.address): \(check.check): \(Options.bodyMatches.keyName) \(expression) is read by PCRE2, as grep -P does, "
                        + "and may mean something else: \(pattern.changes.joined(separator: "; "))"
                }
            }
        }
    }
}

/// The place of the packet program: in the driver (native), in the stack behind the driver (generic), or the best place
/// that is possible (auto).
public enum XDPPreference: String, CaseIterable, Sendable {
    case auto
    case native
    case generic
}

/// The form of a log record: a line of text, or a JSON object on one line.
public enum LogFormat: String, CaseIterable, Sendable {
    case text
    case json
}

/// The places at which addresses were written, such as `ipvsd.yaml:4: listeners 10.0.0.100`. Errors that only the
/// machine's state shows begin with such a place. Any two values are equal, as places do not change a configuration.
public struct WrittenPlaces: Equatable, Sendable {
    private var vips: [IPAddress: String] = [:]
    private var servers: [IPAddress: String] = [:]

    public init() {}

    public static func == (one: WrittenPlaces, other: WrittenPlaces) -> Bool { true }

    /// Returns the beginning of errors about a VIP: its noted place, or else the flag with the VIP.
    public func ofVIP(_ vip: IPAddress) -> String { vips[vip] ?? "\(Options.listeners.flagName) \(vip)" }

    /// Returns the beginning of errors about a real server or a sorry server: its noted place, or else the flag with
    /// the address.
    public func ofServer(_ server: IPAddress) -> String { servers[server] ?? "\(Options.servers.flagName) \(server)" }

    /// Notes the place of a VIP, unless the VIP already has a place.
    mutating func note(vip: IPAddress, _ place: String) { Self.note(vip, place, in: &vips) }
    mutating func note(server: IPAddress, _ place: String) { Self.note(server, place, in: &servers) }

    /// Notes the place of an address, unless the address already has one. Appends the address to a place that lacks it,
    /// such as a mapping's.
    private static func note(_ address: IPAddress, _ place: String, in places: inout [IPAddress: String]) {
        if places[address] != nil { return }
        places[address] = place.contains("\(address)") ? place : "\(place) \(address)"
    }
}
