public import Addresses
public import LoadBalancing

/// A service as the data plane is to have it: what is configured, and what health says of its real servers.
public struct DesiredService: Sendable, Hashable {
    public struct Server: Sendable, Hashable {
        public var configured: RealServer
        public var effective: EffectiveWeight
        public var movesPersistent: Bool
        public var movesDatagrams: Bool

        public var address: IPAddress { configured.address }
        public var weight: UInt16 { effective.weight }
    }

    public var configured: VirtualService
    /// By real server; one that is not named here counts for its configured weight.
    public var effective: [IPAddress: EffectiveWeight]
    /// Real servers whose persistent clients go elsewhere with their next connection: as with IPVS's
    /// expire_quiescent_template=1.
    public var movesPersistent: Set<IPAddress> = []
    /// Real servers that datagrams leave, as they leave one that is removed: see `ServerRemoval`.
    public var movesDatagrams: Set<IPAddress> = []
    /// Its tables need room for parts of weights.
    public var startsSlowly: Bool
    /// Its weights are the schedulers' own already, with slow starts in them: they were read back.
    private(set) var hasSchedulerWeights = false

    public init(
        _ configured: VirtualService, effective: [IPAddress: EffectiveWeight] = [:], startsSlowly: Bool = false
    ) {
        self.configured = configured
        self.effective = effective
        self.startsSlowly = startsSlowly
    }

    /// The service as it is.
    public init(_ service: DataPlaneSnapshot.Service) {
        self.init(
            service.configured,
            effective: Dictionary(
                service.present.map { ($0.address, $0.effectiveWithSlowStart) }, uniquingKeysWith: { one, _ in one }))
        hasSchedulerWeights = true
        movesPersistent = Set(service.present.filter(\.movesPersistent).map(\.address))
        movesDatagrams = Set(service.present.filter(\.movesDatagrams).map(\.address))
    }

    /// In the order of the configuration.
    public var servers: [Server] {
        configured.servers.map {
            Server(
                configured: $0, effective: effective[$0.address] ?? .listed(weight: $0.weight),
                movesPersistent: movesPersistent.contains($0.address),
                movesDatagrams: movesDatagrams.contains($0.address))
        }
    }
}

extension DataPlaneSnapshot.Server {
    fileprivate var effectiveWithSlowStart: EffectiveWeight {
        effective.standing == .listed ? .listed(weight: effective.weight, tenths: tenths) : effective
    }
}
