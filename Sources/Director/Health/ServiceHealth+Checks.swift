internal import Addresses
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// The health of a service at the start of its checks.
extension ServiceHealth {
    /// Creates the health of a service from the servers that were down, and each server's learnt ports that have
    /// answered.
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
    /// Whether the ports that clients use are checked, too. True only for automatic checks of any-port services.
    var learnsPorts: Bool {
        if case .policy(let policy) = checks { policy.kind == .auto && address.isAnyPort } else { false }
    }

    /// Whether automatic checks judge the service by a ping alone, which a host may drop. False for any-port services,
    /// which are also judged by their learnt ports.
    var impliesPing: Bool {
        guard case .policy(let policy) = checks, policy.kind == .auto, !address.isAnyPort else { return false }
        return policy.kind.requiredProbes(of: self) == [.ping]
    }
}

extension CheckPolicy.Kind {
    /// Returns the probes that every real server of the service has to pass. Automatic checks require each TCP port of
    /// the service.
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
