internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import Logging

/// What an answer tells, and who takes note of it.
extension Director {
    /// Has each service that wants to know take note of it.
    func take(_ answer: Checker.Answer) {
        // What was no longer to be asked when the answer came.
        let id = Int(answer.id)
        guard let active = rounds[id] else { return }
        notAsked[id] = nil
        switch answer.verdict {
        case .passed(let pass):
            record(.success, weight: pass.weight.map { UInt16(clamping: $0) }, latency: answer.latency, of: active)
        case .failed(let failure) where failure.isOwn:
            notAsked[id] = "\(active.round.probe) \(answer.way): \(failure.reason)"
            tellShortage(failure.reason)
        case .failed(let failure) where !failure.hostAnswered && isOwnFault(active.round): break
        case .failed(let failure):
            let reason = "\(active.round.probe) \(answer.way): \(failure.reason)"
            record(.failure(reason), latency: answer.latency, of: active)
            if !failure.hostAnswered { paths.askAgain(active.round.server) }
        }
    }

    /// Nothing was asked.
    func take(_ none: NoWay, of id: Int) {
        if let active = rounds[id] { record(.failure(none.reason), of: active) }
    }

    /// The verdict on a real server stays what it was, for want of an answer. Said once a minute at most.
    private func tellShortage(_ reason: String) {
        shortagesTold = shortagesTold.filter { $0.value.duration(to: clock.now) < .seconds(60) }
        guard shortagesTold[reason] == nil else { return }
        shortagesTold[reason] = clock.now
        logger.error("health checks: \(reason)")
    }

    /// `latency`: nil where nothing was asked.
    private func record(
        _ result: ProbeResult, weight: UInt16? = nil, latency: Duration? = nil, of active: Rounds.Active
    ) {
        let probe = active.round.probe
        for target in active.targets {
            if let latency {
                recordCheck(probe, on: target.service, isSuccess: result.isSuccess, latency: latency)
            }
            let known = states[target.service]?.health.answeredPorts(of: target.server)
            let changes = states[target.service]?.record(
                result, of: probe, on: target.server, weight: weight, at: clock.now)
            if let changes { follow(changes, of: target.service) }
            guard let ports = states[target.service]?.health.answeredPorts(of: target.server), ports != known,
                let dataPlane = running?.dataPlane
            else { continue }
            attempt("note the ports that \(target.server) answers") {
                try dataPlane.setAnsweredPorts(ports, of: target)
            }
        }
    }
}
