internal import Addresses
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// The health of a service as its checks begin.
extension ServiceHealth {
    /// Nothing is known but which servers were down, and which learnt ports had answered on each server.
    init(
        of service: ConfiguredService, initiallyDown: Set<IPAddress>, answered: [IPAddress: Set<UInt16>]
    ) {
        switch service.checks {
        case .policy(let policy):
            let required = policy.kind.requiredProbes(of: service)
            self.init(
                required: required, implied: service.impliesPing ? required : [], rise: policy.rise,
                fall: policy.fall, servers: Set(service.servers.map(\.address)),
                initiallyDown: policy.kind == .none ? [] : initiallyDown, answered: answered)
        case .listed(let checks):
            let paces = Dictionary(
                checks.map { ($0.probe, ServiceHealth.Pace(rise: $0.rise, fall: $0.fall)) },
                uniquingKeysWith: { one, _ in one })
            self.init(required: Set(paces.keys), rise: 2, fall: 2, paces: paces, initiallyDown: initiallyDown)
        }
    }
}

extension ConfiguredService {
    /// Whether the ports that clients use are checked besides. Only automatic checks of any-port services do so.
    var learnsPorts: Bool {
        if case .policy(let policy) = checks { policy.kind == .auto && address.isAnyPort } else { false }
    }

    /// Whether the service is judged by a ping alone that nobody asked for, which a host may drop. An any-port service is
    /// judged by its learnt ports besides.
    var impliesPing: Bool {
        guard case .policy(let policy) = checks, policy.kind == .auto, !address.isAnyPort else { return false }
        return policy.kind.requiredProbes(of: self) == [.ping]
    }
}

extension CheckPolicy.Kind {
    /// What has to answer on every real server of the service. Automatic checks require each TCP port that it has.
    fileprivate func requiredProbes(of service: ConfiguredService) -> Set<Probe> {
        switch self {
        case .none: return []
        case .ping: return [.ping]
        case .tcp(let port): return (port ?? service.address.port).map { [.tcp(port: $0)] } ?? [.ping]
        case .auto:
            let ports = service.listeners.filter { $0.transport == .tcp }.compactMap(\.port)
            return ports.isEmpty ? [.ping] : Set(ports.map { .tcp(port: $0) })
        }
    }
}
