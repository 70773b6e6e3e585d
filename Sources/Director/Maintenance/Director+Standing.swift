internal import FoundationEssentials
internal import LoadBalancing
internal import Logging

extension Director {
    func usableWeight(of server: IPv4Address, in service: VirtualService) -> Int {
        let target = Target(service: service.address, server: server)
        guard let configured = service.servers.first(where: { $0.address == server }) else { return 0 }
        let condition = EffectiveWeight.Condition(
            configured: configured.weight, isUp: states[target]?.isUp ?? true, asked: states[target]?.weight,
            isDrained: overrides.drain(of: server, in: service) != nil)
        return Int(condition.usable)
    }

    func standing(of service: VirtualService) -> DirectorEvent.Standing {
        let weights = service.servers.map { usableWeight(of: $0.address, in: service) }
        return DirectorEvent.Standing(
            up: weights.filter { $0 > 0 }.count, total: weights.count, weight: weights.reduce(0, +), quorum: 1)
    }

    func transition(of service: VirtualService, server: IPv4Address, isDrained: Bool, since: Date?) {
        do { try applyServices() } catch {
            logger.error("apply: \(error)")
            owesServices = true
        }
        logger.notice("real server \(server) of \(service.address) is \(isDrained ? "" : "un")drained")
        tell(isDrained ? .serverDrained : .serverUndrained, of: service, server: server, since: since)
    }
}
