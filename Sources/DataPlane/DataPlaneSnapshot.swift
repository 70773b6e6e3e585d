public import Addresses
public import LoadBalancing

/// The services of a data plane at a moment, with or without a daemon.
public struct DataPlaneSnapshot: Sendable {
    public struct Server: Sendable {
        public var id: UInt32
        /// While it was, if it is removed.
        public var configured: RealServer
        /// Its weight is the one that the schedulers use, in which a slow start is.
        public var effective: EffectiveWeight
        /// No longer configured; its TCP connections go on.
        public var isRemoved: Bool
        /// Its persistent clients go elsewhere with their next connection.
        public var movesPersistent = false
        /// The wait for its drain has ended: datagrams leave it.
        public var movesDatagrams = false
        /// Of its share: less than all while it starts slowly.
        public var tenths = SlowStart.whole
        /// Gets no new connections, because of its thresholds.
        public var isOverloaded: Bool
        public var active: UInt32
        public var inactive: UInt32
        public var connections: UInt64
        public var packets: UInt64
        /// Inner IP length.
        public var bytes: UInt64
        /// The outer packet's source, where the way is known.
        public var source: IPAddress?
        public var hasNextHop: Bool
        /// It is the director itself.
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
        /// Configured, but in no table now; its connections go on.
        public var isStandby: Bool { !isRemoved && effective.standing == .standby }
    }

    public struct Service: Sendable {
        public var index: UInt32
        /// As far as the data plane tells: its listeners are in order of address, port and protocol, its real servers in that
        /// of their ids. The Maglev table's size is the one that it has; nil where no server is available.
        public var configured: VirtualService
        /// Also those that are removed.
        public var servers: [Server]

        public init(index: UInt32, configured: VirtualService, servers: [Server]) {
            self.index = index
            self.configured = configured
            self.servers = servers
        }

        public var address: ServiceAddress { configured.address }
        public var listeners: [ServiceAddress] { configured.listeners }
        public var present: [Server] { servers.filter { !$0.isRemoved } }

        /// The server stood by, and others served: it was a sorry server that was not needed. A real server whose place
        /// a sorry server had stands by, too, but so do the others.
        public func spared(_ server: IPAddress) -> Bool {
            let present = present
            return present.contains { $0.address == server && $0.isStandby }
                && present.contains { !$0.isDown && !$0.isStandby }
                && !present.contains { $0.address != server && $0.isStandby }
        }
    }

    public struct Flood: Sendable {
        /// Connections whose handshake has not completed.
        public var halfOpen: UInt32
        /// At so many, new ones are not recorded; 0: never.
        public var limit: UInt32
        /// Seconds ago: the limit was reached last, and first in the same flood.
        public var last: Double?
        public var since: Double?

        public init(halfOpen: UInt32, limit: UInt32, last: Double? = nil, since: Double? = nil) {
            self.halfOpen = halfOpen
            self.limit = limit
            self.last = last
            self.since = since
        }
    }

    /// Persistent clients' templates that nothing evicts.
    public struct Templates: Sendable {
        public var used: UInt32
        public var limit: UInt32
        /// Seconds ago: a client last found no room; nil: not since some was made.
        public var full: Double?

        public init(used: UInt32, limit: UInt32, full: Double? = nil) {
            self.used = used
            self.limit = limit
            self.full = full
        }
    }

    public var services: [Service]
    public var flood: Flood
    /// Nil where no service is persistent.
    public var templates: Templates?
    public var flowTableSize: Int
    /// The counters that the data plane has, in its order.
    public var counterKinds: [PacketCounter]
    /// By `PacketCounter.name`.
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
    /// A service as a data plane has it, with its real servers' weights and flags. A data plane that is given this service
    /// keeps these. The real servers are in the order of their ids, which may not be the configuration's.
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

/// One of the counters that a data plane keeps of packets to VIPs. `received` is the sum of all that is not an event.
public struct PacketCounter: Sendable, Hashable {
    public enum Group: Sendable {
        case received, forwarded, passed, answered, dropped
        /// Counted besides one of the others.
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
