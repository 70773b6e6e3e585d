public import Addresses
internal import DataPlane
internal import FoundationEssentials
internal import Glibc
internal import HealthChecks
public import HostState
public import LoadBalancing
internal import Netlink
internal import ServiceConfiguration

/// The director's table, as `ipvsd status --json` prints it.
public struct DirectorStatus: Codable, Sendable {
    public struct Server: Codable, Sendable {
        public enum Health: String, Codable, Sendable, CaseIterable {
            case up, down
            /// Taken as up until the first check says otherwise; the end of it where checks are off.
            case unproven
            /// No longer configured; its connections go on.
            case removed
        }

        public var address: IPAddress
        /// The configured one.
        public var weight: UInt16
        /// What it counts for now: 0 while it is out or quiesced, a part of the weight while it starts slowly. Nil where
        /// no daemon knows.
        @OrNull public var effectiveWeight: Double? = nil
        public var method = "tunnel"
        /// Connections from which on it gets no new ones; nil: no number.
        @OrNull public var upperThreshold: UInt32? = nil
        /// Connections below which it gets new ones again.
        @OrNull public var lowerThreshold: UInt32? = nil
        /// Gets no new connections now, because of the above.
        public var overloaded: Bool
        public var active: UInt32
        public var inactive: UInt32
        public var connections: UInt64
        public var packets: UInt64
        public var bytes: UInt64
        public var health: Health
        /// When the health became so, ISO 8601; nil where no daemon knows.
        @OrNull public var since: String? = nil
        @OrNull public var reason: String? = nil
        /// Since when it is drained by hand, ISO 8601; nil: it is not.
        @OrNull public var drained: String? = nil
        /// It passes its checks, but has fallen too often, and is out until then; ISO 8601.
        @OrNull public var heldUntil: String? = nil
        /// It starts slowly, and has its whole share then; ISO 8601.
        @OrNull public var wholeShareAt: String? = nil
        /// It serves while the quorum is lost, and is not checked.
        public var isSorryServer = false

        enum CodingKeys: String, CodingKey {
            case address, weight, effectiveWeight, method, upperThreshold, lowerThreshold, overloaded
            case active, inactive, connections, packets, bytes, health, since, reason, heldUntil, wholeShareAt
            case isSorryServer = "sorryServer"
            case drained
        }
    }

    /// Where clients find a service.
    public struct Listener: Codable, Sendable {
        public var vip: IPAddress
        /// Nil: any.
        @OrNull public var port: UInt16?
        @OrNull public var `protocol`: TransportProtocol?

        init(_ address: ServiceAddress) {
            vip = address.vip
            port = address.port
            `protocol` = address.transport
        }

        public var address: ServiceAddress {
            if let port, let `protocol` { return ServiceAddress(vip: vip, port: port, transport: `protocol`) }
            return ServiceAddress(vip: vip)
        }
    }

    /// Whether the service has enough real servers, by the sum of usable ones' weights.
    public struct Quorum: Codable, Sendable {
        public var isUp: Bool
        public var weight: Int
        public var required: Int
        public var hysteresis: Int
        /// The sorry server has the place of the real servers.
        public var sorryServerServes: Bool

        enum CodingKeys: String, CodingKey {
            case isUp = "up"
            case weight, required, hysteresis, sorryServerServes
        }

        init(_ state: ServiceState) {
            isUp = state.quorum.isUp
            weight = state.usableWeight
            required = state.quorum.rule.required
            hysteresis = state.quorum.rule.hysteresis
            sorryServerServes = state.isReplaced
        }
    }

    public struct Service: Codable, Sendable {
        /// The first is also written as the service's own vip, port and protocol.
        public var listeners: [Listener]
        public var scheduler: Scheduler
        /// Seconds; nil: the service is not persistent.
        public var persistence: Int?
        /// Of persistence: clients that share so many bits of their address are one.
        public var persistencePrefixLength: Int?
        public var onePacket: Bool
        /// Slots of the Maglev table; 0 where no server is available.
        public var maglevSize: Int
        /// Nil where no daemon knows.
        public var quorum: Quorum?
        public var servers: [Server]

        enum CodingKeys: String, CodingKey {
            case listeners, scheduler, persistence, persistencePrefixLength, onePacket, maglevSize, quorum, servers
        }

        public func encode(to encoder: any Encoder) throws {
            try listeners.first?.encode(to: encoder)
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(listeners, forKey: .listeners)
            try container.encode(scheduler, forKey: .scheduler)
            try container.encode(persistence, forKey: .persistence)
            try container.encodeIfPresent(persistencePrefixLength, forKey: .persistencePrefixLength)
            try container.encode(onePacket, forKey: .onePacket)
            try container.encode(maglevSize, forKey: .maglevSize)
            try container.encode(quorum, forKey: .quorum)
            try container.encode(servers, forKey: .servers)
        }
    }

    /// What keeps floods of SYNs out of the flow table.
    public struct HalfOpen: Codable, Sendable {
        /// Connections whose handshake has not completed.
        public var now: UInt32
        /// At so many, new connections are not recorded; 0: never.
        public var limit: UInt32
        /// When the limit was reached last, and since when by the same flood, ISO 8601; nil: never.
        @OrNull public var reachedLast: String? = nil
        @OrNull public var reachedSince: String? = nil
    }

    /// Persistent clients whose real servers no flood of made-up clients takes from them.
    public struct Templates: Codable, Sendable {
        /// As of the last sweep.
        public var now: UInt32
        /// At so many, newcomers' real servers are named by the Maglev table.
        public var limit: UInt32
        /// When a client last found no room, ISO 8601; nil: not since some was made.
        @OrNull public var reachedLast: String? = nil
    }

    public struct XDP: Codable, Sendable {
        /// "native" or "generic"; nil where nothing is attached.
        @OrNull public var mode: String? = nil
        public var interfaces: [String]
        /// Packets that their drivers failed to send or dropped, by interface, since it exists.
        public var transmitErrors: [String: UInt64]
    }

    /// Packets for a service that came in by an interface that the packet program is not on.
    public struct Stray: Codable, Sendable {
        public var interface: String
        public var vip: IPAddress
        public var packets: UInt64
        /// When the last one came, ISO 8601.
        public var last: String
    }

    /// The daemon's; nil where none runs and the pinned maps were read.
    @OrNull public var pid: Int32?
    public var services: [Service]
    /// Packets for a VIP.
    public var received: UInt64
    /// Handed to the driver toward a real server.
    public var forwarded: UInt64
    /// Every other end of a packet: passed-, answered- and dropped-. received = forwarded + all of these.
    public var reasons: [String: UInt64]
    /// Counted besides the above.
    public var events: [String: UInt64]
    public var halfOpen: HalfOpen
    /// Nil where no service is persistent, or an older daemon does not tell.
    public var templates: Templates? = nil
    /// Entries of the flow table; half of them are at ease.
    public var flowTableSize: Int
    public var xdp: XDP
    /// Nil where an older daemon does not tell.
    public var strays: [Stray]? = []

    /// UTF-8, keys sorted.
    public func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }

    init(snapshot: DataPlaneSnapshot, pid: Int32?, interfaces: InterfaceReport) {
        self.pid = pid
        xdp = XDP(mode: interfaces.mode, interfaces: interfaces.names, transmitErrors: interfaces.transmitErrors)
        flowTableSize = snapshot.flowTableSize
        let flood = snapshot.flood
        halfOpen = HalfOpen(
            now: flood.halfOpen, limit: flood.limit,
            reachedLast: flood.last.map { Date(timeIntervalSinceNow: -$0).formatted(.iso8601) },
            reachedSince: flood.since.map { Date(timeIntervalSinceNow: -$0).formatted(.iso8601) })
        templates = snapshot.templates.map { templates in
            Templates(
                now: templates.used, limit: templates.limit,
                reachedLast: templates.full.map { Date(timeIntervalSinceNow: -$0).formatted(.iso8601) })
        }
        received = snapshot.counters["received"] ?? 0
        forwarded = snapshot.counters["forwarded"] ?? 0
        reasons = [:]
        events = [:]
        for counter in snapshot.counterKinds {
            switch counter.group {
            case .received, .forwarded: break
            case .passed, .answered, .dropped: reasons[counter.name] = snapshot.counters[counter.name]
            case .event: events[counter.name] = snapshot.counters[counter.name]
            }
        }
        services = snapshot.services.map { service in
            Service(
                listeners: service.listeners.map(Listener.init), scheduler: service.configured.scheduler,
                persistence: service.configured.persistence?.timeout,
                persistencePrefixLength: service.configured.persistence?.prefixLength,
                onePacket: service.configured.isOnePacket, maglevSize: service.configured.maglevSize ?? 0, quorum: nil,
                servers: service.servers.map(Server.init))
        }
    }
}

extension DirectorStatus.Server {
    /// What the maps alone say.
    init(_ server: DataPlaneSnapshot.Server) {
        self.init(
            address: server.address, weight: server.configured.weight, method: server.isLocal ? "local" : "tunnel",
            upperThreshold: server.configured.thresholds?.upper,
            lowerThreshold: server.configured.thresholds?.effectiveLower,
            overloaded: server.isOverloaded, active: server.active, inactive: server.inactive,
            connections: server.connections, packets: server.packets, bytes: server.bytes,
            health: server.isRemoved ? .removed : server.isDown ? .down : .up)
        if server.effective.weight == 0 { effectiveWeight = 0 }
    }
}

/// What `ipvsd status` shows.
extension Director {
    /// Returns nil until the director has started.
    public func status() async throws -> DirectorStatus? {
        // The status says what clients get.
        if running?.isForwarding == true { await hurryPending() }
        return try describe()
    }

    /// Describes the director as it is now. Returns nil until it has started.
    func describe() throws -> DirectorStatus? {
        guard let running, running.isForwarding else { return nil }
        let now = clock.now
        var status = DirectorStatus(
            snapshot: try running.dataPlane.snapshot(), pid: getpid(),
            interfaces: try running.dataPlane.interfaceReport())
        status.strays = try Self.strays(running.dataPlane.strayPackets(), network)
        let byListener = configuration.servicesByListener
        for serviceIndex in status.services.indices {
            let service = status.services[serviceIndex]
            guard let configured = service.listeners.lazy.compactMap({ byListener[$0.address] }).first else { continue }
            let address = configured.address
            status.services[serviceIndex].listeners = configured.listeners.map(DirectorStatus.Listener.init)
            // In the order of the configuration.
            let inOrder = configured.servers.map(\.address) + [configured.policy.sorryServer].compactMap(\.self)
            let order = Dictionary(zip(inOrder, inOrder.indices), uniquingKeysWith: { one, _ in one })
            status.services[serviceIndex].servers.sort {
                order[$0.address, default: .max] < order[$1.address, default: .max]
            }
            for index in service.servers.indices {
                let server = status.services[serviceIndex].servers[index]
                status.services[serviceIndex].servers[index] = described(server, of: address, at: now)
            }
            status.services[serviceIndex].setDrains(maintenance.overrides, of: configured.forwarding)
            if let state = health[address] {
                status.services[serviceIndex].quorum = DirectorStatus.Quorum(state)
            }
        }
        return status
    }

    /// Adds what the data plane does not know of the server.
    private func described(
        _ server: DirectorStatus.Server, of service: ServiceAddress, at now: ContinuousClock.Instant
    ) -> DirectorStatus.Server {
        guard server.health != .removed, let state = health[service] else { return server }
        var server = server
        if server.address == state.policy.sorryServer {
            server.isSorryServer = true
            server.health = .unproven
            server.effectiveWeight = EffectiveWeight.sorryServer(serves: state.isReplaced).shown
            return server
        }
        guard let known = state.servers[server.address] else { return server }
        func date(_ instant: ContinuousClock.Instant?) -> String? {
            instant.map { Date(timeIntervalSinceNow: (($0 - now) / .seconds(1))).formatted(.iso8601) }
        }
        let verdict = state.health.verdict(of: server.address)
        server.since = date(known.since)
        let member = ServiceMember(service: service, server: server.address)
        server.reason = known.reason ?? health.reasonNotAsked(member)
        server.health = !known.condition.isUp ? .down : verdict.isProven ? .up : .unproven
        server.effectiveWeight = state.effectiveWeight(of: server.address)?.shown
        server.heldUntil = date(known.heldUntil)
        server.wholeShareAt = date(state.wholeShare(of: server.address))
        return server
    }

    /// What the stored data plane and the file of overrides say, without a daemon; nil where there is no data plane.
    /// `problem`: why it does not tell who is drained.
    public static func storedStatus(
        instance: InstancePaths, dataPlanes: any DataPlaneProvider
    ) throws -> (status: DirectorStatus, problem: String?)? {
        guard let stored = try dataPlanes.stored(instance) else { return nil }
        var status = DirectorStatus(snapshot: stored.snapshot, pid: nil, interfaces: stored.interfaces)
        status.strays = try strays(stored.strays, KernelNetwork())
        do {
            let overrides = try OverridesFile(path: instance.overrides).read()
            for (index, service) in stored.snapshot.services.enumerated() {
                status.services[index].setDrains(overrides, of: service.configured)
            }
            return (status, nil)
        } catch {
            return (status, "\(error)")
        }
    }

    private static func strays(
        _ packets: [StrayPlace: StrayPackets], _ network: any Network
    ) throws -> [DirectorStatus.Stray] {
        try packets.sorted { ($0.key.interface, $0.key.vip) < ($1.key.interface, $1.key.vip) }
            .compactMap { place, packets in
                try network.link(index: place.interface).map { link in
                    let last = Date(timeIntervalSinceNow: -(packets.age / .seconds(1)))
                    return DirectorStatus.Stray(
                        interface: link.name, vip: place.vip, packets: packets.count, last: last.formatted(.iso8601))
                }
            }
    }
}

extension DirectorStatus.Service {
    /// Says who is drained in the service, as the overrides know it.
    fileprivate mutating func setDrains(_ overrides: Overrides, of service: VirtualService) {
        for index in servers.indices {
            servers[index].drained =
                overrides.drain(of: servers[index].address, in: service)?.since.formatted(.iso8601)
        }
    }
}
