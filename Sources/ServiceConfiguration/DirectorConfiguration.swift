public import Addresses
internal import HealthChecks
public import LoadBalancing

/// All that an operator asks of a director: the one value that flags and files become.
public struct DirectorConfiguration: Equatable, Sendable {
    public var services: [ConfiguredService]
    /// Where clients' packets come in. None: those of the VIPs' subnets, or else of the default route.
    public var interfaces: [String]
    public var xdp: XDPPreference
    /// Unanswered SYNs trigger checks, and one repeated to a silent real server is scheduled anew.
    public var watchesSYNs: Bool
    /// Whether the director puts the VIPs on itself and announces them.
    public var managesAddress: Bool
    /// The outer source of tunnelled packets varies in this prefix by the flow; nil: it is the director's own address.
    public var outerSources: IPPrefix?
    /// For so many the flow table has room at ease.
    public var connections: Int
    public var timeouts: Timeouts
    /// While so many connections are half-open, new ones are not recorded: 0 for any number, nil for an eighth of the
    /// flow table.
    public var halfOpenLimit: Int?
    /// Where metrics are served over TCP, besides the control socket; nil: nowhere.
    public var metricsListen: ListenAddress?
    /// Where its addresses were written.
    public var places = WrittenPlaces()

    public init(
        services: [ConfiguredService] = [], interfaces: [String] = [], xdp: XDPPreference = .auto,
        watchesSYNs: Bool = true,
        managesAddress: Bool = true, outerSources: IPPrefix? = nil,
        connections: Int = ConnectionLimits.defaultConnections, timeouts: Timeouts = Timeouts(),
        halfOpenLimit: Int? = nil, metricsListen: ListenAddress? = nil
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
        self.outerSources = outerSources
    }

    /// The addresses of all listeners.
    public var vips: Set<IPAddress> { Set(services.flatMap(\.listeners).map(\.vip)) }

    /// Each service by all of its listeners.
    public var servicesByListener: [ServiceAddress: ConfiguredService] {
        Dictionary(
            services.flatMap { service in service.listeners.map { ($0, service) } },
            uniquingKeysWith: { first, _ in first })
    }

    /// The service whose first listener this is.
    public subscript(address: ServiceAddress) -> ConfiguredService? { services.first { $0.address == address } }

    /// The addresses of all real servers and sorry servers.
    public var serverAddresses: Set<IPAddress> {
        Set(services.flatMap { $0.servers.map(\.address) }).union(services.compactMap(\.policy.sorryServer))
    }

    /// Whether real servers of any service are checked.
    public var asksAnything: Bool { services.contains(where: \.checks.asks) }
}

/// Where the packet program runs: in the driver (native), behind it (generic), or in the best place there is (auto).
public enum XDPPreference: String, CaseIterable, Sendable {
    case auto
    case native
    case generic
}

/// Where an operator wrote addresses, for errors that only the machine's state shows: `ipvsd.yaml:4: listeners 10.0.0.100`.
/// Two values are equal always: a configuration is the same wherever it was written.
public struct WrittenPlaces: Equatable, Sendable {
    private var vips: [IPAddress: String] = [:]
    private var servers: [IPAddress: String] = [:]

    public init() {}

    public static func == (one: WrittenPlaces, other: WrittenPlaces) -> Bool { true }

    /// The beginning of errors about a VIP; without a file its flag.
    public func ofVIP(_ vip: IPAddress) -> String { vips[vip] ?? "\(Options.listeners.flagName) \(vip)" }

    /// The same for a real server, or a sorry server.
    public func ofServer(_ server: IPAddress) -> String { servers[server] ?? "\(Options.servers.flagName) \(server)" }

    /// The first place of each counts.
    mutating func note(vip: IPAddress, _ place: String) { Self.note(vip, place, in: &vips) }
    mutating func note(server: IPAddress, _ place: String) { Self.note(server, place, in: &servers) }

    /// A mapping's place lacks the value.
    private static func note(_ address: IPAddress, _ place: String, in places: inout [IPAddress: String]) {
        if places[address] != nil { return }
        places[address] = place.contains("\(address)") ? place : "\(place) \(address)"
    }
}

extension DirectorConfiguration {
    /// What an operator should know of a configuration that is good.
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
