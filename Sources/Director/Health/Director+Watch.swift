internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// What time alone changes, and what clients say.
extension Director {
    /// Ten times a second: slow starts and the ends of damping; and real servers whose clients' SYNs no ACK follows are
    /// checked at once, as often as it takes for a verdict.
    func watchTime() async {
        while !Task.isCancelled {
            // Their addresses alone: a state that the loop held would be copied to be changed.
            for address in states.filter(\.value.isTimed).map(\.key) {
                if let changes = states[address]?.advance(to: clock.now) { follow(changes, of: address) }
            }
            if configuration.watchesSYNs, let dataPlane = running?.dataPlane { suspectSilent(dataPlane) }
            try? await clock.sleep(for: .milliseconds(100))
        }
    }

    private func suspectSilent(_ dataPlane: any DataPlane) {
        let silent = dataPlane.unansweredSYNs(atLeast: Self.suspiciousAfter)
        let before = silentBefore
        silentBefore = silent
        for (target, unanswered) in silent where before[target] != unanswered {
            let asked = rounds.ids(of: target)
            guard isUp(target), !asked.isEmpty, underSuspicion.insert(target).inserted else { continue }
            Task {
                for _ in 0..<fall(of: target.service) where isUp(target) {
                    // A handshake that completed meanwhile says more than a check's answer that was lost.
                    guard let dataPlane = running?.dataPlane,
                        dataPlane.unansweredSYNs(of: target) >= Self.suspiciousAfter
                    else { break }
                    for id in asked { await askOutOfTurn(id) }
                }
                underSuspicion.remove(target)
            }
        }
    }

    private func isUp(_ target: ServiceMember) -> Bool {
        states[target.service]?.servers[target.server]?.condition.isUp == true
    }

    private func askOutOfTurn(_ id: Int) async {
        switch question(of: id) {
        case .success(let question): take(await checker.ask(question))
        case .failure(let none): take(none, of: id)
        }
    }

    /// The most failures in a row that any of the service's checks needs for a verdict.
    private func fall(of service: ServiceAddress) -> Int {
        switch configuration[service]?.checks {
        case nil: 0
        case .policy(let policy): policy.fall
        case .listed(let checks): checks.map(\.fall).max() ?? 0
        }
    }
}
