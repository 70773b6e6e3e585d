public import Addresses
internal import DataPlane
internal import FoundationEssentials
internal import Glibc
internal import HealthChecks
public import HostState
public import LoadBalancing
internal import Netlink
internal import ServiceConfiguration

/// The director's status, as `ipvsd status --json` prints it.
public struct DirectorStatus: Codable, Sendable {
    public struct Server: Codable, Sendable {
        public enum Health: String, Codable, Sendable, CaseIterable {
            case up, down
            /// Counted as up without a passed check. This lasts until the first verdict, or always where checks are
            /// off. A sorry server is always unproven.
            case unproven
            /// No longer configured. Its connections go on.
            case removed
        }

        public var address: IPAddress
        /// The configured weight.
        public var weight: UInt16
        /// The weight that is in force: 0 while the server is down, held or drained, and a part of `weight` during a
        /// slow start. Without a daemon it is 0 or nil, as only 0 is known then.
        @OrNull public var effectiveWeight: Double? = nil
        public var method = "tunnel"
        /// The number of connections from which on the server gets no new ones, or nil where there is no threshold.
        @OrNull public var upperThreshold: UInt32? = nil
        /// The number of connections below which the server gets new ones again, or nil where there is no threshold.
        @OrNull public var lowerThreshold: UInt32? = nil
        /// Whether the server gets no new connections now, because of its thresholds.
        public var overloaded: Bool
        public var active: UInt32
        public var inactive: UInt32
        public var connections: UInt64
        public var packets: UInt64
        public var bytes: UInt64
        public var health: Health
        /// The time of the last change of health, ISO 8601. Nil without a daemon, and for sorry and removed servers.
        @OrNull public var since: String? = nil
        @OrNull public var reason: String? = nil
        /// The time of the drain, ISO 8601. Nil where the server is not drained.
        @OrNull public var drained: String? = nil
        /// The end of the hold by flap damping, ISO 8601. Nil where the server is not held.
        @OrNull public var heldUntil: String? = nil
        /// The end of the slow start, ISO 8601. Nil where the server does not start slowly.
        @OrNull public var wholeShareAt: String? = nil
        /// Whether this is the sorry server, which serves while the quorum is lost, and is not checked.
        public var isSorryServer = false

        enum CodingKeys: String, CodingKey {
            case address, weight, effectiveWeight, method, upperThreshold, lowerThreshold, overloaded
            case active, inactive, connections, packets, bytes, health, since, reason, heldUntil, wholeShareAt
            case isSorryServer = "sorryServer"
            case drained
        }
    }

    /// A listener of a service.
    public struct Listener: Codable, Sendable {
        public var vip: IPAddress
        /// The port. Nil for all ports.
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

    /// The quorum of a service, which counts the weights of usable real servers.
    public struct Quorum: Codable, Sendable {
        public var isUp: Bool
        public var weight: Int
        public var required: Int
        public var hysteresis: Int
        /// Whether the sorry server serves new connections.
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
        /// The listeners. The first is also encoded as the service's own vip, port and protocol.
        public var listeners: [Listener]
        public var scheduler: Scheduler
        /// The time-out of persistence in seconds. Nil where the service is not persistent.
        public var persistence: Int?
        /// The length of the address prefix by which persistence groups clients. Nil where the service is not
        /// persistent.
        public var persistencePrefixLength: Int?
        public var onePacket: Bool
        /// The number of slots of the Maglev table. 0 where no server is available.
        public var maglevSize: Int
        /// The quorum. Nil without a daemon.
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

    /// The limit that keeps floods of SYNs out of the flow table.
    public struct HalfOpen: Codable, Sendable {
        /// The number of half-open connections.
        public var now: UInt32
        /// The number of half-open connections from which on new connections are not recorded. 0 for no limit.
        public var limit: UInt32
        /// The last time at which the limit was reached, ISO 8601. Nil for never.
        @OrNull public var reachedLast: String? = nil
        /// The time at which the same flood reached the limit first, ISO 8601. Nil for never.
        @OrNull public var reachedSince: String? = nil
    }

    /// The confirmed templates, which no flood of feigned clients displaces.
    public struct Templates: Codable, Sendable {
        /// The number of templates at the last sweep.
        public var now: UInt32
        /// The number from which on the Maglev table chooses the real servers of new clients.
        public var limit: UInt32
        /// The last time at which a client found no room, ISO 8601. Nil where that never happened, or there has been
        /// room since.
        @OrNull public var reachedLast: String? = nil
    }

    public struct XDP: Codable, Sendable {
        /// The mode, "native" or "generic". Nil where nothing is attached.
        @OrNull public var mode: String? = nil
        public var interfaces: [String]
        /// The number of packets that the driver failed to send or dropped, by interface, since the interface's
        /// creation.
        public var transmitErrors: [String: UInt64]
    }

    /// The packets for a service that arrived at an interface without the packet program.
    public struct Stray: Codable, Sendable {
        public var interface: String
        public var vip: IPAddress
        public var packets: UInt64
        /// The time of the last packet, ISO 8601.
        public var last: String
    }

    /// The daemon's process id. Nil without a daemon, where the pinned maps were read.
    @OrNull public var pid: Int32?
    public var services: [Service]
    /// The number of packets for a VIP.
    public var received: UInt64
    /// The number of packets that were handed to the driver toward a real server.
    public var forwarded: UInt64
    /// The number of packets for each other end, by names that begin with passed-, answered- or dropped-. `received` is
    /// the sum of `forwarded` and all of these.
    public var reasons: [String: UInt64]
    /// The counters of events, which a packet counts besides its end.
    public var events: [String: UInt64]
    public var halfOpen: HalfOpen
    /// The confirmed templates. Nil where no service is persistent, or an older daemon omits them.
    public var templates: Templates? = nil
    /// The number of entries of the flow table. The table is meant to be at most half full.
    public var flowTableSize: Int
    public var xdp: XDP
    /// The stray packets. Nil where an older daemon omits them.
    public var strays: [Stray]? = []

    /// Returns the status as JSON in UTF-8, with sorted keys.
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
    /// Creates the status of a real server from the maps alone.
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

/// The description of a director, running or not.
extension Director {
    /// Returns the status, or nil until the director has started. Applies pending changes first.
    public func status() async throws -> DirectorStatus? {
        // The status has to show the weights that are in force.
        if running?.isForwarding == true { await hurryPending() }
        return try describe()
    }

    /// Returns the present status, or nil until the director has started.
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
            // The configuration decides the order of real servers. The sorry server is the last one.
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

    /// Adds to a real server's status the health and the effective weight, which the maps do not have.
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

    /// Returns the status from the pinned data plane and the stored drains, or nil without a data plane. `problem` is
    /// the error where the drains cannot be read.
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
    /// Sets the times of drains of the service's real servers.
    fileprivate mutating func setDrains(_ overrides: Overrides, of service: VirtualService) {
        for index in servers.indices {
            servers[index].drained =
                overrides.drain(of: servers[index].address, in: service)?.since.formatted(.iso8601)
        }
    }
}
