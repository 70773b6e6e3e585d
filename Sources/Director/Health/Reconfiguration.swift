internal import Addresses
internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// The move of services' health to another configuration.
struct Reconfiguration {
    let old: DirectorConfiguration
    let new: DirectorConfiguration
    /// The learnt ports that have answered, of each service that learns ports.
    let answered: [ServiceAddress: [IPAddress: Set<UInt16>]]
    let overrides: Overrides
    let now: ContinuousClock.Instant

    typealias Transitions = [(service: ServiceAddress, transition: HealthTransition)]

    /// Returns the new states and their transitions. Real servers that stay keep their state. A server that is down
    /// stays down under other checks, until these pass.
    func states(
        from present: [ServiceAddress: ServiceState]
    ) -> (states: [ServiceAddress: ServiceState], transitions: Transitions) {
        var states: [ServiceAddress: ServiceState] = [:]
        var transitions: Transitions = []
        let formers = old.servicesByListener
        for service in new.services {
            let address = service.address
            guard let former = service.listeners.lazy.compactMap({ formers[$0] }).first,
                var state = present[former.address]
            else {
                let fresh = ServiceState(
                    servers: service.servers, policy: service.policy, health: health(of: service),
                    drained: overrides.drained(of: service.forwarding), at: now)
                transitions += fresh.beginnings.map { (address, $0) }
                states[address] = fresh
                continue
            }
            let asks = service.checks.asks
            let down = Set(service.servers.map(\.address).filter { state.servers[$0]?.isGood == false })
            let changes = state.reconfigure(
                servers: service.servers, policy: service.policy,
                health: asksTheSame(service, former) ? nil : health(of: service, initiallyDown: asks ? down : []),
                asks: asks, at: now)
            transitions += changes.transitions.map { (address, $0) }
            transitions += state.setDrained(overrides.drained(of: service.forwarding), at: now).transitions
                .map { (address, $0) }
            states[address] = state
        }
        return (states, transitions)
    }

    /// Returns the services whose checks begin anew.
    func servicesWithFreshHealth() -> [ConfiguredService] {
        let formers = old.servicesByListener
        return new.services.filter { service in
            guard let former = service.listeners.lazy.compactMap({ formers[$0] }).first else { return true }
            return !asksTheSame(service, former)
        }
    }

    private func asksTheSame(_ service: ConfiguredService, _ former: ConfiguredService) -> Bool {
        former.address == service.address && former.listeners == service.listeners
            && service.checks == former.checks
    }

    private func health(of service: ConfiguredService, initiallyDown: Set<IPAddress> = []) -> ServiceHealth {
        ServiceHealth(
            of: service, initiallyDown: initiallyDown, answered: answered[service.address] ?? [:])
    }
}

extension ServiceState {
    /// Creates the state of a service that another daemon may have had. Its down servers stay down until they answer.
    /// Slow starts and damping continue. A sorry server that served goes on until the real servers have the quorum.
    init(
        takingOver service: ConfiguredService, found: DataPlaneSnapshot,
        damping: [DampingFile.Entry], answered: [IPAddress: Set<UInt16>], overrides: Overrides, at now: Instant
    ) {
        let address = service.address
        let adopted = found.services.first { $0.listeners.contains(address) }
        let down = service.checks.asks ? Set(adopted?.servers.filter(\.isDown).map(\.address) ?? []) : []
        let starting = (adopted?.servers ?? []).filter { $0.tenths < SlowStart.whole }
        let damping = damping.filter { service.listeners.contains($0.service) }
        self.init(
            servers: service.servers, policy: service.policy,
            health: ServiceHealth(of: service, initiallyDown: down, answered: answered), down: down,
            drained: overrides.drained(of: service.forwarding),
            starting: Dictionary(starting.map { ($0.address, $0.tenths) }, uniquingKeysWith: { one, _ in one }),
            damping: Dictionary(damping.map { ($0.server, $0.damping) }, uniquingKeysWith: { _, last in last }),
            hadQuorum: service.policy.sorryServer.map { adopted?.spared($0) ?? false } ?? false, at: now)
    }
}
