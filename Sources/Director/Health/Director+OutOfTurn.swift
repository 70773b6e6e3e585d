internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// Checks out of turn: real servers whose clients' SYNs no ACK follows are checked before their turn.
extension Director {
    /// The time in which a client's second unanswered SYN is noticed, unless looking takes long.
    private static let suspicionPeriod = Duration.milliseconds(20)

    /// Has real servers checked whose clients' SYNs stay unanswered, until cancelled.
    func watchSYNs() async {
        while !Task.isCancelled {
            let began = clock.now
            if configuration.watchesSYNs, let dataPlane = running?.dataPlane { suspectSilent(dataPlane) }
            // A look at many suspects leaves time for the checks.
            try? await clock.sleep(for: max(Self.suspicionPeriod, began.duration(to: clock.now) * 4))
        }
    }

    /// Begins what `OutOfTurnChecks` allows.
    private func suspectSilent(_ dataPlane: any DataPlane) {
        let unanswered = dataPlane.unansweredSYNs(atLeast: Self.suspiciousAfter)
        for id in health.suspect(unanswered, at: clock.now) { Task { await askOutOfTurn(id) } }
    }

    /// Asks the questions of one series.
    private func askOutOfTurn(_ id: Int) async {
        while let (member, time) = health.nextOutOfTurn(id) {
            guard time <= clock.now else {
                do { try await clock.sleep(until: time) } catch { break }
                continue
            }
            guard let dataPlane = running?.dataPlane else { break }
            guard dataPlane.unansweredSYNs(of: member) >= Self.suspiciousAfter else {
                health.postponeOutOfTurn(id, at: clock.now)
                continue
            }
            switch question(of: id, isOutOfTurn: true) {
            case .success(let question):
                let answer = await checker.ask(question)
                if !take(answer, isOutOfTurn: true) { await checkLoop.look?.value }
                health.noteOutOfTurn(id, answer.verdict)
            case .failure(let none):
                take(none, of: id)
                health.endOutOfTurn(id)
            }
        }
        health.endOutOfTurn(id)
    }
}
