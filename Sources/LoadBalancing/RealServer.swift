public import Addresses

/// A server behind a virtual service: as the operator states it, and how it stands now. IPVS's `ip_vs_dest` is both, too.
public struct RealServer: Hashable, Sendable {
    public var address: IPAddress
    /// The share of new connections in relation to the other servers' weights; 0 quiesces: connections stay, none are
    /// added.
    public var weight: UInt16
    public var thresholds: ConnectionThresholds?
    /// What is decided about the server beside its configured weight; nil in a configuration.
    private var decided: EffectiveWeight?
    /// Its persistent clients go elsewhere with their next connection, as with IPVS's expire_quiescent_template=1.
    public var movesPersistent = false
    /// Datagrams leave it, as they leave a server that is removed: see `ServerRemoval`.
    public var movesDatagrams = false

    public init(address: IPAddress, weight: UInt16 = 1, thresholds: ConnectionThresholds? = nil) {
        self.address = address
        self.weight = weight
        self.thresholds = thresholds
    }

    /// The weight that counts now: the configured one, until health, a drain or a slow start sets another.
    public var effective: EffectiveWeight {
        get { decided ?? .listed(weight: weight) }
        set { decided = newValue }
    }
}

/// How many connections, active and inactive, a real server is to have: IPVS's u_threshold and l_threshold
/// (`ipvsadm -x` and `-y`).
public struct ConnectionThresholds: Hashable, Sendable {
    /// From so many on the server gets no new ones; not 0.
    public let upper: UInt32
    /// Until they are fewer than so many; nil: three quarters of `upper`, as in ip_vs_conn.c.
    public let lower: UInt32?

    public init(upper: UInt32, lower: UInt32? = nil) {
        precondition(upper > 0, "an upper threshold of 0 is none")
        precondition(lower.map { $0 > 0 && $0 <= upper } ?? true, "a lower threshold is from 1 to the upper one")
        self.upper = upper
        self.lower = lower
    }

    /// `lower`, or what stands for it: at least 1.
    public var effectiveLower: UInt32 { lower ?? upper - upper / 4 }

    /// Whether a server with so many connections is overloaded; `wasOverloaded`: when it last had another number.
    public func areExceeded(by connections: UInt32, wasOverloaded: Bool) -> Bool {
        connections >= upper || (wasOverloaded && connections >= effectiveLower)
    }
}
