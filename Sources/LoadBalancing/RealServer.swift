public import Addresses

/// A server behind a virtual service, with its configuration and its present state. IPVS's `ip_vs_dest` also has both.
public struct RealServer: Hashable, Sendable {
    public var address: IPAddress
    /// The share of new connections, relative to the other servers' weights. Weight 0 quiesces: connections stay, and
    /// the server gets no new connections.
    public var weight: UInt16
    public var thresholds: ConnectionThresholds?
    /// The effective weight that was set. Nil: the configured weight is in force, as in a configuration.
    private var decided: EffectiveWeight?
    /// Whether the server's persistent clients get another server with their next connection, as with IPVS's
    /// expire_quiescent_template=1.
    public var movesPersistent = false
    /// Whether the server's datagram flows are treated like the flows of a removed server (`ServerRemoval`).
    public var movesDatagrams = false

    public init(address: IPAddress, weight: UInt16 = 1, thresholds: ConnectionThresholds? = nil) {
        self.address = address
        self.weight = weight
        self.thresholds = thresholds
    }

    /// The effective weight. It is the configured weight until health, a drain or a slow start sets another.
    public var effective: EffectiveWeight {
        get { decided ?? .listed(weight: weight) }
        set { decided = newValue }
    }
}

/// The limits on the connections, active and inactive, of a real server: IPVS's u_threshold and l_threshold (`ipvsadm
/// -x` and `-y`).
public struct ConnectionThresholds: Hashable, Sendable {
    /// The number of connections from which on the server gets no new connections. It is not 0.
    public let upper: UInt32
    /// The number of connections below which the server gets new connections again. Nil stands for three quarters of
    /// `upper`, as in ip_vs_conn.c.
    public let lower: UInt32?

    public init(upper: UInt32, lower: UInt32? = nil) {
        precondition(upper > 0, "an upper threshold of 0 is none")
        precondition(lower.map { $0 > 0 && $0 <= upper } ?? true, "a lower threshold is from 1 to the upper one")
        self.upper = upper
        self.lower = lower
    }

    /// The lower threshold, or its default. It is at least 1.
    public var effectiveLower: UInt32 { lower ?? upper - upper / 4 }

    /// Returns whether a server with this number of connections is overloaded. `wasOverloaded` says whether it was
    /// overloaded before.
    public func areExceeded(by connections: UInt32, wasOverloaded: Bool) -> Bool {
        connections >= upper || (wasOverloaded && connections >= effectiveLower)
    }
}
