internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// The log and events tell what has changed in the health of services.
extension Director {
    /// Every change of a service's health comes through here, once the data plane has followed it.
    func transition(_ transition: HealthTransition, of service: ServiceAddress) {
        guard let state = health[service] else { return }
        tell(transition, of: service)
        let left = "\(state.numberUp) of \(state.servers.count) left"
        switch transition {
        case .serverUp(let server):
            publisher.noteUp(of: service)
            logger.notice("real server \(server) of \(service) is up; \(left)")
        case .serverDown(let server, let reason):
            logger.warning("real server \(server) of \(service) is down: \(reason ?? "no reason known"); \(left)")
            if publisher.noteDown(of: service, numberUp: state.numberUp) {
                let end = state.isReplaced ? "" : ": clients get ICMP port unreachable"
                logger.critical("no real server is left for \(service)\(end)")
            }
        case .serverUnproven(let server, let reason):
            logger.warning(
                "real server \(server) of \(service) serves unproven, and does not count toward the quorum: \(reason ?? "no reason known"); no real server has answered yet"
            )
        case .serverHeld(let server, let time):
            logger.warning(
                "real server \(server) of \(service) passes its checks again, but fell too often: held out for \(Self.rounded(time)), if it stays good; \(left)"
            )
        case .weight(let server, let weight, let before):
            logger.notice("real server \(server) of \(service) has weight \(weight) by its checks, \(before) before")
        case .quorumLost(let weight):
            let rule = state.quorum.rule
            // One that begins has to gain it first.
            let bound = weight < rule.lostBelow ? rule.lostBelow : rule.regainedAt
            logger.warning(
                "\(service) lost its quorum: the weight of usable real servers is \(weight), below \(bound)")
        case .quorumRegained(let weight):
            logger.notice("\(service) has its quorum again: the weight of usable real servers is \(weight)")
        case .sorryServer(let server, serves: true):
            logger.warning("sorry server \(server) of \(service) serves new connections")
        case .sorryServer(let server, serves: false):
            logger.notice("sorry server \(server) of \(service) serves no new connections any more")
        }
    }

    static func rounded(_ time: Duration) -> String {
        DurationText.format(.seconds(max(1, Int((time / .seconds(1)).rounded()))))
    }
}
