public import Addresses
internal import DataPlane
internal import FoundationEssentials
internal import HealthChecks
public import LoadBalancing

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
