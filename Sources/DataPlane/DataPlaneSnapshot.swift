public import Addresses
public import LoadBalancing

/// The services and counters of a data plane at a moment, with or without a daemon.
public struct DataPlaneSnapshot: Sendable {
    public struct Server: Sendable {
        public var id: UInt32
        /// The configured values, or a removed server's last configured values.
        public var configured: RealServer
        /// The effective weight, as the schedulers use it: reduced during a slow start.
        public var effective: EffectiveWeight
        /// Whether the server is no longer configured. Its TCP connections go on.
        public var isRemoved: Bool
        /// Whether the server's persistent clients move with their next connection.
        public var movesPersistent = false
        /// Whether the wait for the server's drain has ended, so that datagrams leave it.
        public var movesDatagrams = false
        /// The tenths of the server's share that are in force: `SlowStart.whole`, or fewer during a slow start.
        public var tenths = SlowStart.whole
        /// Whether the server gets no new connections because of its thresholds.
        public var isOverloaded: Bool
        public var active: UInt32
        public var inactive: UInt32
        public var connections: UInt64
        public var packets: UInt64
        /// The sum of the inner packets' IP lengths in bytes.
        public var bytes: UInt64
        /// The outer packets' source; nil: the path is unknown.
        public var source: IPAddress?
        public var hasNextHop: Bool
        /// Whether the server is the director itself.
        public var isLocal: Bool

        public init(
            id: UInt32, configured: RealServer, effective: EffectiveWeight, isRemoved: Bool,
            movesPersistent: Bool = false, movesDatagrams: Bool = false, tenths: Int = SlowStart.whole,
            isOverloaded: Bool = false, active: UInt32 = 0, inactive: UInt32 = 0, connections: UInt64 = 0,
            packets: UInt64 = 0, bytes: UInt64 = 0, source: IPAddress? = nil, hasNextHop: Bool, isLocal: Bool = false
        ) {
            self.id = id
            self.configured = configured
            self.effective = effective
            self.isRemoved = isRemoved
            self.movesPersistent = movesPersistent
            self.movesDatagrams = movesDatagrams
            self.tenths = tenths
            self.isOverloaded = isOverloaded
            self.active = active
            self.inactive = inactive
            self.connections = connections
            self.packets = packets
            self.bytes = bytes
            self.source = source
            self.hasNextHop = hasNextHop
            self.isLocal = isLocal
        }

        public var address: IPAddress { configured.address }
        public var isDown: Bool { effective.standing == .down }
        /// Whether the server is configured, and in standby: it is in no scheduler's table, and its TCP connections go
        /// on.
        public var isStandby: Bool { !isRemoved && effective.standing == .standby }
    }

    public struct Service: Sendable {
        public var index: UInt32
        /// The configuration, as far as the data plane has it. Listeners are in order of address, port and protocol,
        /// and real servers in order of their ids. `maglevSize` is the present size; nil where no server is available.
        public var configured: VirtualService
        /// The real servers, removed ones included.
        public var servers: [Server]

        public init(index: UInt32, configured: VirtualService, servers: [Server]) {
            self.index = index
            self.configured = configured
            self.servers = servers
        }

        public var address: ServiceAddress { configured.address }
        public var listeners: [ServiceAddress] { configured.listeners }
        public var present: [Server] { servers.filter { !$0.isRemoved } }

        /// Returns whether the server was a sorry server in standby while others served. A real server that a sorry
        /// server replaces is also in standby, but then all other real servers are in standby, too.
        public func spared(_ server: IPAddress) -> Bool {
            let present = present
            return present.contains { $0.address == server && $0.isStandby }
                && present.contains { !$0.isDown && !$0.isStandby }
                && !present.contains { $0.address != server && $0.isStandby }
        }
    }

    public struct Flood: Sendable {
        /// The number of connections whose handshake is not complete.
        public var halfOpen: UInt32
        /// The number of half-open connections from which on new connections are not recorded; 0: no limit.
        public var limit: UInt32
        /// The ages in seconds of the last and the first time in the present flood that the limit was reached; nil: it
        /// was never reached.
        public var last: Double?
        public var since: Double?

        public init(halfOpen: UInt32, limit: UInt32, last: Double? = nil, since: Double? = nil) {
            self.halfOpen = halfOpen
            self.limit = limit
            self.last = last
            self.since = since
        }
    }

    /// The confirmed templates of persistent clients, which are never evicted.
    public struct Templates: Sendable {
        public var used: UInt32
        public var limit: UInt32
        /// The age in seconds of the last lack of room; nil: there was none, or room was made since.
        public var full: Double?

        public init(used: UInt32, limit: UInt32, full: Double? = nil) {
            self.used = used
            self.limit = limit
            self.full = full
        }
    }

    public var services: [Service]
    public var flood: Flood
    /// The templates; nil where no service is persistent.
    public var templates: Templates?
    public var flowTableSize: Int
    /// The data plane's counters, in the order of their indices.
    public var counterKinds: [PacketCounter]
    /// The values of the counters, by `PacketCounter.name`.
    public var counters: [String: UInt64]

    public init(
        services: [Service], flood: Flood, templates: Templates? = nil, flowTableSize: Int,
        counterKinds: [PacketCounter], counters: [String: UInt64]
    ) {
        self.services = services
        self.flood = flood
        self.templates = templates
        self.flowTableSize = flowTableSize
        self.counterKinds = counterKinds
        self.counters = counters
    }
}

extension VirtualService {
    /// Creates a service from its state in a data plane, with its real servers' weights and flags. A data plane to
    /// which the service is applied stays as it is. The real servers are in the order of their ids.
    public init(_ service: DataPlaneSnapshot.Service) {
        self = service.configured
        servers = service.present.map { server in
            var present = server.configured
            present.effective =
                server.effective.standing == .listed
                ? .listed(weight: server.effective.weight, tenths: server.tenths, isScaled: true) : server.effective
            present.movesPersistent = server.movesPersistent
            present.movesDatagrams = server.movesDatagrams
            return present
        }
    }
}

/// A counter of packets to VIPs. `received` is the sum of all counters but events.
public struct PacketCounter: Sendable, Hashable {
    public enum Group: Sendable {
        case received, forwarded, passed, answered, dropped
        /// A counter that counts a packet in addition to a counter of another group.
        case event
    }

    /// The position among the data plane's counters.
    public let index: Int
    public let name: String
    public let group: Group

    public init(index: Int, name: String, group: Group) {
        self.index = index
        self.name = name
        self.group = group
    }
}
