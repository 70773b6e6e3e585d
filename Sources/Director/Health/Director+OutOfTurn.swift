internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// Checks out of turn: real servers whose clients' SYNs no ACK follows are checked at once, as often as it takes for a
/// verdict.
extension Director {
    func suspectSilent(_ dataPlane: any DataPlane) {
        let unanswered = dataPlane.unansweredSYNs(atLeast: Self.suspiciousAfter)
        for (member, asked) in health.suspect(unanswered) {
            Task {
                for _ in 0..<fall(of: member.service) where health.isUp(member) {
                    // A handshake that completed meanwhile says more than a check's answer that was lost.
                    guard let dataPlane = running?.dataPlane,
                        dataPlane.unansweredSYNs(of: member) >= Self.suspiciousAfter
                    else { break }
                    for id in asked { await askOutOfTurn(id) }
                }
                health.endSuspicion(of: member)
            }
        }
    }

    private func askOutOfTurn(_ id: Int) async {
        switch question(of: id) {
        case .success(let question): take(await checker.ask(question))
        case .failure(let none): take(none, of: id)
        }
    }

    /// The most failures in a row that any of the service's checks needs for a verdict.
    private func fall(of service: ServiceAddress) -> Int {
        switch configuration.checks(of: service) {
        case .policy(let policy): policy.fall
        case .listed(let checks): checks.map(\.fall).max() ?? 0
        }
    }
}
