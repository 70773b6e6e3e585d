internal import Addresses
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// One question to a real server, asked over and over. Services that ask the same of the same host share it.
struct Round: Hashable {
    var server: IPAddress
    /// To which the question goes through the tunnel; nil: it goes to the server's own address.
    var vip: IPAddress?
    var probe: Probe
    var pace: CheckSchedule.Pace
    var timeout: Duration
}

extension Round {
    /// What a service asks of one of its real servers. `questions` are those of the service's health, which a policy's
    /// kind and the ports that clients use decide.
    static func all(
        of server: IPAddress, vip: IPAddress, checks: ServiceChecks, questions: Set<Probe>
    ) -> [Round] {
        switch checks {
        case .policy(let policy) where policy.kind == .none: []
        case .policy(let policy):
            questions.sorted { $0.description < $1.description }.map {
                Round(
                    server: server, vip: vip, probe: $0,
                    pace: CheckSchedule.Pace(interval: policy.interval, fastInterval: policy.fastInterval),
                    timeout: policy.timeout)
            }
        case .listed(let checks):
            checks.map {
                Round(
                    server: server, vip: $0.via == .direct ? nil : vip, probe: $0.probe,
                    pace: CheckSchedule.Pace(interval: $0.interval, fastInterval: $0.fastInterval), timeout: $0.timeout)
            }
        }
    }
}

extension ServiceCheck {
    var probe: Probe { Probe(check, via: via) }
}
