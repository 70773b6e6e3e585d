internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// What comes in about the health of real servers: answers of checks, ports that clients use, and time.
extension Director {
    /// Has each service that wants to know take note of the answer.
    func take(_ answer: Checker.Answer, isOutOfTurn: Bool = false) {
        let before = health.doubts.end(.init(round: Int(answer.id), isOutOfTurn: isOutOfTurn))
        if case .failed(let failure) = answer.verdict, !failure.isOwn {
            if !failure.hostAnswered, let round = health.round(Int(answer.id)), isOwnFault(round) {
                return health.passOver(answer)
            }
            if let before, let doubt = doubt(of: answer, failure, before: before) {
                return follow(health.passOver(answer, in: doubt, at: clock.now))
            }
        }
        follow(health.take(answer, at: clock.now))
    }

    /// Returns why the failure is this machine's own; nil when nothing proves that.
    private func doubt(
        of answer: Checker.Answer, _ failure: CheckVerdict.Failure, before: CheckTraffic
    ) -> CheckPathDoubt? {
        let id = Int(answer.id)
        guard let inquiry = health.inquiry(id), let after = traffic(of: inquiry, by: answer.way, begins: false),
            let doubt = CheckPathDoubt(from: before, to: after, failure, isShared: health.sharesTransport(id))
        else { return nil }
        // A server whose answers have wrong checksums is of no use to clients either.
        if doubt == .answerLost, health.doubts.hasChecksumErrors(network.checksumErrors()) { return nil }
        return doubt
    }

    /// Nothing was asked, for want of a way.
    func take(_ none: NoWay, of id: Int) {
        follow(health.noteNoWay(id, none.reason, at: clock.now))
    }

    private func follow(_ findings: HealthSupervisor.Findings) {
        if let shortage = findings.shortage { logger.error("health checks: \(shortage)") }
        for (service, reason) in findings.inDoubt { tell(.checkPathInDoubt, of: service, reason: reason) }
        for (service, changes) in findings.changes { follow(changes, of: service) }
        if let dataPlane = running?.dataPlane {
            for (member, ports) in findings.answeredPorts {
                attempt("note the ports that \(member.server) answers") {
                    try dataPlane.setAnsweredPorts(ports, of: member)
                }
            }
        }
        if let host = findings.silentHost { paths.askAgain(host) }
    }

    /// Learns the ports of any-port services that clients use. Called every second.
    func learnPorts() throws {
        guard let dataPlane = running?.dataPlane else { return }
        var hasNewQuestions = false
        defer { if hasNewQuestions { updateRounds() } }
        let learnt = try dataPlane.learntPorts().filter { configuration[$0.key]?.learnsPorts == true }
        try learnt.forEachDespiteErrors { service, ports in
            // Recent ports come first; but a client that tries closed ports all the time must not keep a real one
            // waiting for ever.
            let ordered = Array(ports.prefix(4)) + ports.shuffled()
            guard let learning = health.learn(ordered, of: service, at: clock.now) else { return }
            follow(learning.changes, of: service)
            if learning.hasNewQuestions { hasNewQuestions = true }
            try dataPlane.forgetLearntPorts(learning.forgotten, of: service)
        }
    }

    /// Follows what time alone changes, ten times a second.
    func watchTime() async {
        while !Task.isCancelled {
            for (service, changes) in health.advance(to: clock.now) { follow(changes, of: service) }
            try? await clock.sleep(for: .milliseconds(100))
        }
    }
}
