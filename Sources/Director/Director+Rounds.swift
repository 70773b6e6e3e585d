internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// What is asked of which real server at which pace.
extension Director {
    /// Asked again and again: one check, or what a policy asks at a time.
    struct Round: Hashable {
        var target: Target
        /// Nil: whatever the service's health wants to know.
        var probe: Probe?
        var interval: Duration
        var timeout: Duration
        var fall: Int
    }

    func rounds(of target: Target) -> [Round] {
        switch configuration.checks(of: target.service) {
        case .policy(let policy) where policy.kind == .none: []
        case .policy(let policy):
            [
                Round(
                    target: target, probe: nil, interval: policy.interval, timeout: policy.timeout, fall: policy.fall)
            ]
        case .listed(let checks):
            checks.map {
                Round(target: target, probe: $0.probe, interval: $0.interval, timeout: $0.timeout, fall: $0.fall)
            }
        }
    }

    /// Makes the running rounds those of the configuration. What stays is not disturbed.
    func followRounds() {
        guard var watchers else { return }
        let wanted = Set(
            configuration.services.flatMap { service in
                service.servers.flatMap { rounds(of: Target(service: service.address, server: $0.address)) }
            })
        for (round, task) in watchers where !wanted.contains(round) {
            task.cancel()
            watchers[round] = nil
        }
        for round in wanted where watchers[round] == nil {
            watchers[round] = Task { await self.watch(round) }
        }
        self.watchers = watchers
    }
}

extension ServiceCheck {
    var probe: Probe { .check(check, via: via) }
}
