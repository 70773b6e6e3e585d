internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import Netlink

/// What a round asks, and which way.
extension Director {
    /// Why a real server cannot be asked.
    struct NoWay: Error { var reason: String }

    /// Its id is the round's.
    func question(of id: Int) -> Result<Checker.Question, NoWay> {
        guard let active = rounds[id], let first = active.targets.first else {
            return .failure(NoWay(reason: "nobody asks any more"))
        }
        let round = active.round
        return way(of: round, for: first).map { way in
            Checker.Question(
                id: UInt64(id), check: round.probe.check.addressed(to: round.server), way: way,
                beside: isAskedBeside(active) ? round.server : nil, timeout: round.timeout, service: first.service)
        }
    }

    /// It is asked at the server's own address, too, which tells which half is broken: where that is wanted, or costs next
    /// to nothing while an answer may be news to somebody.
    private func isAskedBeside(_ active: Rounds.Active) -> Bool {
        let probe = active.round.probe
        switch probe.via {
        case .both: return true
        case .direct: return false
        case .tunnel:
            return probe.check.isBare
                && active.targets.contains {
                    states[$0.service]?.health.isUndecided(probe, of: active.round.server) ?? true
                }
        }
    }

    private func way(of round: Round, for target: ServiceMember) -> Result<Check.Way, NoWay> {
        guard let dataPlane = running?.dataPlane, let socket = dataPlane.checkSocket(for: target) else {
            return .failure(NoWay(reason: "the director is stopping"))
        }
        // As `refreshPaths` last found it: asking the kernel would cost more than the check.
        guard let path = dataPlane.route(to: target.server) else {
            return .failure(NoWay(reason: unreachable[target.server] ?? "no way to \(target.server) is known yet"))
        }
        guard let vip = round.vip else { return .success(.direct(target.server)) }
        if path.isLocal {
            return .success(.direct((try? localDestination(vip: vip, server: target.server)) ?? target.server))
        }
        return .success(
            .tunnel(vip: vip, mark: socket.mark, device: socket.device, source: path.source))
    }
}
