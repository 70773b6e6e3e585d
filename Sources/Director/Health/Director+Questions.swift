internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import Netlink

/// The question that a round asks, and which way it goes.
extension Director {
    /// Why a real server cannot be asked.
    struct NoWay: Error { var reason: String }

    /// The id of the question is the round's.
    func question(of id: Int, isOutOfTurn: Bool = false) -> Result<Checker.Question, NoWay> {
        guard let inquiry = health.inquiry(id) else { return .failure(NoWay(reason: "nobody asks any more")) }
        let round = inquiry.round
        return way(of: round, for: inquiry.member).map { way in
            health.doubts.begin(
                .init(round: id, isOutOfTurn: isOutOfTurn), before: traffic(of: inquiry, by: way, begins: true))
            return Checker.Question(
                id: UInt64(id), check: round.probe.check.addressed(to: round.server), way: way,
                beside: inquiry.isAskedBeside ? round.server : nil, timeout: round.timeout,
                service: inquiry.member.service)
        }
    }

    /// The packets that the data plane has counted of such checks; nil where it counts none that go this way. `begins`: a
    /// question is about to go out.
    func traffic(of inquiry: HealthSupervisor.Inquiry, by way: Check.Way, begins: Bool) -> CheckTraffic? {
        guard case .tunnel = way, let transport = inquiry.round.probe.check.transport else { return nil }
        return running?.dataPlane.checkTraffic(of: inquiry.member, by: transport, begins: begins)
    }

    private func way(of round: Round, for member: ServiceMember) -> Result<Check.Way, NoWay> {
        guard let dataPlane = running?.dataPlane, let socket = dataPlane.checkSocket(for: member) else {
            return .failure(NoWay(reason: "the director is stopping"))
        }
        // As `refreshPaths` last found it: asking the kernel would cost more than the check.
        guard let path = dataPlane.route(to: member.server) else {
            return .failure(NoWay(reason: unreachable[member.server] ?? "no way to \(member.server) is known yet"))
        }
        guard let vip = round.vip else { return .success(.direct(member.server)) }
        if path.isLocal {
            return .success(.direct(localDestination(vip: vip, server: member.server)))
        }
        return .success(
            .tunnel(vip: vip, mark: socket.mark, device: socket.device, source: path.source))
    }
}
