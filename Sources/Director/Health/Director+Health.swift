internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// What is known of real servers where a service begins, or its checks do.
extension Director {
    func isAutomatic(_ address: ServiceAddress) -> Bool {
        if case .policy(let policy) = configuration[address]?.checks {
            policy.kind == .auto && address.isAnyPort
        } else {
            false
        }
    }

    /// Health of which nothing is known but what is out.
    func freshHealth(
        of service: ConfiguredService, initiallyDown: Set<IPv4Address>
    ) throws -> ServiceHealth {
        switch service.checks {
        case .policy(let policy):
            let required = Self.required(service, policy.kind)
            // Nobody asked for it, and a host may drop every ping. An any-port service has its learnt ports besides.
            let isImplied = policy.kind == .auto && required == [.ping] && !service.address.isAnyPort
            if isImplied {
                logger.notice(
                    "\(service.address): 'auto' checks UDP by a ping; real servers are unproven until one answers (a check of type udp or dns asks the service)"
                )
            }
            return ServiceHealth(
                required: required, implied: isImplied ? required : [], rise: policy.rise, fall: policy.fall,
                servers: Set(service.servers.map(\.address)), initiallyDown: policy.kind == .none ? [] : initiallyDown,
                answered: isAutomatic(service.address)
                    ? try running?.dataPlane.answeredPorts(of: service.address) ?? [:] : [:])
        case .listed(let checks):
            let paces = Dictionary(
                checks.map { ($0.probe, ServiceHealth.Pace(rise: $0.rise, fall: $0.fall)) },
                uniquingKeysWith: { one, _ in one })
            return ServiceHealth(
                required: Set(paces.keys), rise: 2, fall: 2, paces: paces, initiallyDown: initiallyDown)
        }
    }

    /// What has to answer on every real server of the service: in automatic checks each port that it has.
    private static func required(_ service: ConfiguredService, _ kind: CheckPolicy.Kind) -> Set<Probe> {
        switch kind {
        case .none: return []
        case .ping: return [.ping]
        case .tcp(let port): return (port ?? service.address.port).map { [.tcp(port: $0)] } ?? [.ping]
        case .auto:
            let ports = service.listeners.filter { $0.transport == .tcp }.compactMap(\.port)
            return ports.isEmpty ? [.ping] : Set(ports.map { .tcp(port: $0) })
        }
    }

    /// Servers that the last daemon had taken out stay out until they answer, slow starts go on where they were, what flap
    /// damping held against servers it still does, and its sorry server serves until the real servers are a quorum again.
    func takeOverHealth(from snapshot: DataPlaneSnapshot) throws {
        let damping = formerDamping()
        for service in configuration.services {
            let address = service.address
            let adopted = snapshot.services.first { $0.listeners.contains(address) }
            let down = service.checks.asks ? Set(adopted?.servers.filter(\.isDown).map(\.address) ?? []) : []
            let starting = (adopted?.servers ?? []).filter { $0.tenths < SlowStart.whole }
            states[address] = ServiceState(
                servers: service.servers, policy: service.policy,
                health: try freshHealth(of: service, initiallyDown: down), down: down, drained: drained(of: service),
                starting: Dictionary(starting.map { ($0.address, $0.tenths) }, uniquingKeysWith: { one, _ in one }),
                damping: damping[address] ?? [:],
                hadQuorum: service.policy.sorryServer.map { adopted?.spared($0) ?? false } ?? false, at: clock.now)
        }
    }
}
