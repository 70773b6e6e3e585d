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
