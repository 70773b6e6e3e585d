public import Addresses
public import LoadBalancing

/// What the director would do with a packet, and why. Parts are nil, and left out of the JSON, where the packet does not
/// come so far.
public struct PacketDecision: Sendable, Encodable {
    public enum Verdict: String, Sendable, Encodable, CaseIterable {
        /// For nobody's VIP: left to the director's own stack, and not counted.
        case ignored
        /// To a real server.
        case forwarded
        /// To the director's own stack.
        case passed
        /// By a packet from the VIP.
        case answered
        case dropped
    }

    /// Whose packet it is.
    public struct Service: Sendable, Encodable {
        /// The one that the packet comes in by; without a port where it is the one of all ports.
        public var listener: ServiceAddress
        public var listeners: [ServiceAddress]
        /// As configured; nil where the maps do not tell.
        public var scheduler: Scheduler?
        /// That compares the real servers now, in place of lc and nq where one starts slowly; nil: none is compared.
        public var comparesBy: Scheduler?
        public var schedulerFlags: [String]
        /// Seconds.
        public var persistence: Int?
        public var persistencePrefixLength: Int?
        public var isOnePacket: Bool
        public var onServerLoss: ServerLoss
        public var onServerRemoval: ServerRemoval
        /// The data plane's number of it.
        public var index: UInt32

        private enum CodingKeys: String, CodingKey {
            case listener, listeners, scheduler, comparesBy, schedulerFlags, persistence, persistencePrefixLength
            case onePacket, onServerLoss, onServerRemoval, index
        }

        /// Addresses as `10.0.0.100:80/tcp`.
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
        /// What becomes of it.
        public enum Fate: String, Sendable, Encodable, CaseIterable {
            /// The packet goes where it says.
            case kept
            /// It is closing, and a SYN uses its ports again.
            case reusedPorts = "ports-reused"
            /// Its real server is down, no longer there, or one that datagrams leave.
            case serverLost = "server-lost"
            /// The packet goes where it says, but its real server is no longer in use: nothing refreshes it.
            case finishing
            /// Its real server answers no SYNs.
            case serverSilent = "server-silent"
            /// Its real server is down, and the client is told so.
            case reset
        }

        /// How its real server is.
        public enum ServerStanding: String, Sendable, Encodable, CaseIterable {
            case up, down
            /// The wait for its drain has ended: datagrams leave it.
            case drained
            /// Configured, but neither it nor its persistent clients get new connections now: see `EffectiveWeight`.
            case standby
            /// No longer configured; its TCP connections go on.
            case removed
        }

        public var state: Flow.State
        /// A single ACK without data (in a persistent service any number), or a single datagram: such entries give way to
        /// others.
        public var isBare: Bool
        public var server: IPv4Address?
        public var serverStanding: ServerStanding
        /// Seconds since its last packet, which may be told an eighth of the time-out too long.
        public var idle: Double
        /// Seconds until it expires.
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

    /// A client's (network's) real server in a persistent service.
    public struct Template: Sendable, Encodable {
        public enum Standing: String, Sendable, Encodable, CaseIterable {
            case heeded, expired
            case serverDown = "server-down"
            case serverRemoved = "server-removed"
            /// The server's persistent clients go elsewhere with their next connection.
            case serverMoves = "server-moves"
        }

        public var client: IPv4Address
        public var prefixLength: Int
        public var server: IPv4Address?
        /// Seconds until it expires.
        public var remaining: Double
        /// For a new connection.
        public var standing: Standing
        /// The client was seen to go on: no other client's template takes its place.
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
            /// A packet without a connection, which may be of one that was not recorded.
            case unknownConnection = "unknown-connection"
            /// Too many connections are half-open for one more to be recorded.
            case flood
            /// The flow table has no room.
            case noRoom = "no-room"
        }

        public var occasion: Occasion
        public var choice: ServerChoice
    }

    /// Why a packet without a connection may be of one that was not recorded.
    public enum Forgetting: String, Sendable, Encodable, CaseIterable {
        /// Its scheduler makes the same choice on every director.
        case hashBased = "hash-based"
        /// A flow of its bucket found no room, less than TCP's time-out ago.
        case noRoom = "no-room"
        /// Too many connections were half-open, less than TCP's time-out ago.
        case flood
    }

    /// What becomes of the flow table.
    public enum Recording: String, Sendable, Encodable, CaseIterable {
        /// A free entry is taken.
        case recorded
        /// The connection's own entry is written anew.
        case renewed
        /// Another connection's entry, which has least to lose, is taken.
        case evicting
        case noRoom = "no-room"
        /// By the service's or the flood's rule.
        case none
    }

    /// A real server of the service, as the schedulers see it.
    public struct Candidate: Sendable, Encodable {
        public var server: IPv4Address
        /// That the schedulers go by; in slow start, parts of the configured one.
        public var schedulerWeight: UInt16
        public var isOverloaded: Bool
        public var active: UInt32
        public var inactive: UInt32
        /// Places of the service's ring or list, and of its Maglev table.
        public var slots: Int
        public var maglevSlots: Int
        /// SYNs since a handshake completed.
        public var unanswered: UInt32

        enum CodingKeys: String, CodingKey {
            case server, schedulerWeight
            case isOverloaded = "overloaded"
            case active, inactive, slots, maglevSlots, unanswered
        }
    }

    /// The way to the real server, and the header that the packet gets (RFC 2003).
    public struct Way: Sendable, Encodable {
        /// The director itself: the packet goes up its own stack as it came.
        public var isLocal: Bool
        public var source: IPv4Address
        public var destination: IPv4Address
        public var ttl = 64
        public var dontFragment: Bool
        /// Of the outer packet, in bytes.
        public var length: Int
        public var mtu: Int
        /// The largest packet that fits without being fragmented.
        public var largest: Int
        public var sourceMAC: String
        /// Nil: the next hop has not answered ARP.
        public var nextHopMAC: String?
        /// The outermost first: "802.1q 100".
        public var tags: [String]
        /// The index of the interface by which it leaves.
        public var interface: Int32
        /// What does not fit, and has no DF, is left to the kernel to be fragmented; else it is dropped.
        public var canFragment: Bool
        /// It is left to the kernel to be fragmented.
        public var isFragmented = false

        enum CodingKeys: String, CodingKey {
            case isLocal = "local"
            case source, destination, ttl, dontFragment, length, mtu, largest, sourceMAC, nextHopMAC, tags, canFragment
            case interface = "interfaceIndex"
            case isFragmented = "fragmented"
        }
    }

    public var verdict = Verdict.ignored
    /// The name of what counts it (`PacketCounter.name`); nil: nothing does.
    public var reason: String?
    /// What is counted besides.
    public var events: [String] = []
    /// The real server that it goes to.
    public var server: IPv4Address?
    public var service: Service?
    public var connection: Connection?
    public var template: Template?
    /// The client has none that counts, and gets none, as there is no room for confirmed ones.
    public var lacksRoomForTemplate = false
    /// In the order in which they are made: the last one counts.
    public var choices: [Choice] = []
    public var forgettings: [Forgetting] = []
    /// Those that are configured, in the order of their rows.
    public var candidates: [Candidate] = []
    /// Nil where the flow table is not written to.
    public var recording: Recording?
    public var way: Way?
    /// Half-open connections, and the number at which new ones are not recorded; 0: at none.
    public var halfOpen: Int = 0
    public var halfOpenLimit: Int = 0
    /// No daemon sweeps the flow table: a packet of a new flow does so first, and what has expired counts until then.
    public var isUnattended = false
    /// Longer packets were merged by the interface that they came in by.
    public var ingressMTU: Int = 0
    /// Of frames that are taken; none: all are.
    public var ownMACs: [String] = []

    enum CodingKeys: String, CodingKey {
        case verdict, reason, events, server, service, connection, template, choices, forgettings, candidates,
            recording, way
        case lacksRoomForTemplate, halfOpen, halfOpenLimit
        case isUnattended = "unattended"
        case ingressMTU, ownMACs
    }
}
