public import Addresses
public import LoadBalancing

/// A prediction of what the director does with a packet, with the reasons. Parts that the packet does not reach are
/// nil, and absent from the JSON.
public struct PacketDecision: Sendable, Encodable {
    public enum Verdict: String, Sendable, Encodable, CaseIterable {
        /// The packet is for no VIP. It goes to the director's own stack, uncounted.
        case ignored
        /// The packet goes to a real server.
        case forwarded
        /// The packet goes to the director's own stack.
        case passed
        /// The director answers with a packet from the VIP.
        case answered
        case dropped
    }

    /// The service of the packet.
    public struct Service: Sendable, Encodable {
        /// The listener that the packet comes in by. The listener of an any-port service has no port.
        public var listener: ServiceAddress
        public var listeners: [ServiceAddress]
        /// The configured scheduler; nil where the maps do not have it.
        public var scheduler: Scheduler?
        /// The scheduler that compares the real servers now; nil: none are compared. It replaces lc and nq while a
        /// server starts slowly.
        public var comparesBy: Scheduler?
        public var schedulerFlags: [String]
        /// The persistence in seconds.
        public var persistence: Int?
        public var persistencePrefixLength: Int?
        public var isOnePacket: Bool
        public var onServerLoss: ServerLoss
        public var onServerRemoval: ServerRemoval
        /// The service's row in the data plane.
        public var index: UInt32

        private enum CodingKeys: String, CodingKey {
            case listener, listeners, scheduler, comparesBy, schedulerFlags, persistence, persistencePrefixLength
            case onePacket, onServerLoss, onServerRemoval, index
        }

        /// Encodes addresses as `10.0.0.100:80/tcp`.
        public func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(listener.description, forKey: .listener)
            try container.encode(listeners.map(\.description), forKey: .listeners)
            try container.encodeIfPresent(scheduler, forKey: .scheduler)
            try container.encodeIfPresent(comparesBy, forKey: .comparesBy)
            try container.encode(schedulerFlags, forKey: .schedulerFlags)
            try container.encodeIfPresent(persistence, forKey: .persistence)
            try container.encodeIfPresent(persistencePrefixLength, forKey: .persistencePrefixLength)
            try container.encode(isOnePacket, forKey: .onePacket)
            try container.encode(onServerLoss, forKey: .onServerLoss)
            try container.encode(onServerRemoval, forKey: .onServerRemoval)
            try container.encode(index, forKey: .index)
        }
    }

    /// The entry of the flow table that the packet finds.
    public struct Connection: Sendable, Encodable {
        /// The packet's effect on the connection.
        public enum Fate: String, Sendable, Encodable, CaseIterable {
            /// The packet goes to the recorded real server.
            case kept
            /// The connection is closing, and a SYN reuses its ports.
            case reusedPorts = "ports-reused"
            /// The real server is down or removed, or datagrams leave it.
            case serverLost = "server-lost"
            /// The datagram goes to the recorded real server, which datagrams have to leave. So nothing refreshes the
            /// entry.
            case finishing
            /// A SYN is repeated to a real server that answers no SYNs.
            case serverSilent = "server-silent"
            /// The real server is down, and the client gets a reset.
            case reset
        }

        /// The standing of the connection's real server.
        public enum ServerStanding: String, Sendable, Encodable, CaseIterable {
            case up, down
            /// The wait for the server's drain has ended, and datagrams leave it.
            case drained
            /// The server is configured, but gets no new connections now, not even of its persistent clients: see
            /// `EffectiveWeight`.
            case standby
            /// The server is no longer configured. Its TCP connections go on.
            case removed
        }

        public var state: Flow.State
        /// Whether the entry stems from one datagram, or from one ACK without data. In a persistent service it may be
        /// any number of ACKs. Such entries give way to others.
        public var isBare: Bool
        public var server: IPv4Address?
        public var serverStanding: ServerStanding
        /// The seconds since the entry was last refreshed. Packets refresh it only after 1/32 of its time-out.
        public var idle: Double
        /// The seconds until expiry.
        public var remaining: Double
        public var bucket: Int
        public var isInSecondBucket: Bool
        public var isInOwnHalf: Bool
        public var isInFormerTable: Bool
        public var fate = Fate.kept

        enum CodingKeys: String, CodingKey {
            case state
            case isBare = "bare"
            case server, serverStanding, idle, remaining, bucket
            case isInSecondBucket = "inSecondBucket"
            case isInOwnHalf = "inOwnHalf"
            case isInFormerTable = "inFormerTable"
            case fate
        }
    }

    /// The real server of a client, or of its network, in a persistent service.
    public struct Template: Sendable, Encodable {
        public enum Standing: String, Sendable, Encodable, CaseIterable {
            case heeded, expired
            case serverDown = "server-down"
            case serverRemoved = "server-removed"
            /// The server's persistent clients move with their next connection.
            case serverMoves = "server-moves"
        }

        public var client: IPv4Address
        public var prefixLength: Int
        public var server: IPv4Address?
        /// The seconds until expiry.
        public var remaining: Double
        /// Whether a new connection heeds the template, or the reason why not.
        public var standing: Standing
        /// Whether the client has proven itself by a further packet. No other client's template then takes its place.
        public var isConfirmed: Bool

        enum CodingKeys: String, CodingKey {
            case client, prefixLength, server, remaining, standing
            case isConfirmed = "confirmed"
        }
    }

    /// A choice of a real server, and its occasion.
    public struct Choice: Sendable, Encodable {
        public enum Occasion: String, Sendable, Encodable, CaseIterable {
            case newConnection = "new-connection"
            /// Each datagram is scheduled by itself.
            case onePacket = "one-packet"
            /// See `Connection.Fate`.
            case reusedPorts = "ports-reused"
            case serverLost = "server-lost"
            case serverSilent = "server-silent"
            /// The packet finds no entry. Its connection may exist, but may not have been recorded.
            case unknownConnection = "unknown-connection"
            /// Too many connections are half-open to record another one.
            case flood
            /// The flow table has no room.
            case noRoom = "no-room"
        }

        public var occasion: Occasion
        public var choice: ServerChoice
    }

    /// A reason why the packet's connection may not have been recorded.
    public enum Forgetting: String, Sendable, Encodable, CaseIterable {
        /// The scheduler makes the same choice on every director.
        case hashBased = "hash-based"
        /// A flow of the bucket found no room within the last TCP time-out.
        case noRoom = "no-room"
        /// Too many connections were half-open within the last TCP time-out.
        case flood
    }

    /// The packet's effect on the flow table.
    public enum Recording: String, Sendable, Encodable, CaseIterable {
        /// A free entry is taken.
        case recorded
        /// The connection's own entry is written anew.
        case renewed
        /// The entry that gives way first is taken from another connection.
        case evicting
        case noRoom = "no-room"
        /// No record, since the service schedules single packets, or too many connections are half-open.
        case none
    }

    /// A real server of the service, as the schedulers see it.
    public struct Candidate: Sendable, Encodable {
        public var server: IPv4Address
        /// The weight that schedulers use. In slow start it counts parts of the configured weight.
        public var schedulerWeight: UInt16
        public var isOverloaded: Bool
        public var active: UInt32
        public var inactive: UInt32
        /// The server's numbers of slots in the scheduler's table and in the Maglev table.
        public var slots: Int
        public var maglevSlots: Int
        /// The number of SYNs since the last completed handshake.
        public var unanswered: UInt32

        enum CodingKeys: String, CodingKey {
            case server, schedulerWeight
            case isOverloaded = "overloaded"
            case active, inactive, slots, maglevSlots, unanswered
        }
    }

    /// The path to the real server, and the outer header (RFC 2003).
    public struct Way: Sendable, Encodable {
        /// Whether the real server is the director itself. The packet then goes up its own stack as it came.
        public var isLocal: Bool
        public var source: IPv4Address
        public var destination: IPv4Address
        public var ttl = 64
        public var dontFragment: Bool
        /// The outer packet's length in bytes.
        public var length: Int
        public var mtu: Int
        /// The largest inner packet that fits without fragmentation.
        public var largest: Int
        public var sourceMAC: String
        /// The next hop's MAC address; nil while it has not answered ARP.
        public var nextHopMAC: String?
        /// The VLAN tags, such as "802.1q 100", the outermost first.
        public var tags: [String]
        /// The index of the interface by which the packet leaves.
        public var interface: Int32
        /// Whether the kernel fragments packets that are too big and have no DF. Otherwise they are dropped.
        public var canFragment: Bool
        /// Whether the kernel fragments this packet.
        public var isFragmented = false

        enum CodingKeys: String, CodingKey {
            case isLocal = "local"
            case source, destination, ttl, dontFragment, length, mtu, largest, sourceMAC, nextHopMAC, tags, canFragment
            case interface = "interfaceIndex"
            case isFragmented = "fragmented"
        }
    }

    public var verdict = Verdict.ignored
    /// The name of the counter of the packet's end (`PacketCounter.name`); nil: the packet is not counted.
    public var reason: String?
    /// The names of the event counters that count the packet.
    public var events: [String] = []
    /// The real server that the packet goes to.
    public var server: IPv4Address?
    public var service: Service?
    public var connection: Connection?
    public var template: Template?
    /// Whether the client has no valid template, and gets none for lack of room.
    public var lacksRoomForTemplate = false
    /// The choices in order. The last one is in force.
    public var choices: [Choice] = []
    public var forgettings: [Forgetting] = []
    /// The configured real servers, in the order of their rows.
    public var candidates: [Candidate] = []
    /// The packet's effect on the flow table; nil: it has none.
    public var recording: Recording?
    public var way: Way?
    /// The number of half-open connections, and the number from which on new ones are not recorded. Limit 0: all new
    /// connections are recorded.
    public var halfOpen: Int = 0
    public var halfOpenLimit: Int = 0
    /// Whether no daemon sweeps the flow table. A packet of a new flow then sweeps first, and expired entries count
    /// until then.
    public var isUnattended = false
    /// The ingress MTU. Longer packets were merged by the interface.
    public var ingressMTU: Int = 0
    /// The destination MACs of frames for the director; empty: all frames are for it.
    public var ownMACs: [String] = []

    enum CodingKeys: String, CodingKey {
        case verdict, reason, events, server, service, connection, template, choices, forgettings, candidates,
            recording, way
        case lacksRoomForTemplate, halfOpen, halfOpenLimit
        case isUnattended = "unattended"
        case ingressMTU, ownMACs
    }
}
