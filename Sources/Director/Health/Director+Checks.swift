internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// Real servers are asked in rounds as long as the director runs, and their answers become findings.
extension Director {
    // MARK: The loop

    /// Asks what is due, until cancelled.
    func runChecks() async {
        let answers = checkLoop.open()
        updateRounds()
        await withDiscardingTaskGroup { group in
            group.addTask { for await some in answers { await self.take(some) } }
            while !Task.isCancelled {
                begin(health.takeDue(at: clock.now))
                await rest(until: checkLoop.endTurn(nextDue: health.nextDue, at: clock.now))
            }
            group.cancelAll()
        }
        cancel(health.roundIDs)
        checkLoop.close()
    }

    /// Makes the rounds those of the configuration, and of what was learnt.
    func updateRounds() {
        guard checkLoop.inbox != nil else { return }
        cancel(health.updateRounds(for: configuration, at: clock.now))
        checkLoop.wake(for: health.nextDue)
    }

    private func begin(_ due: [Int]) {
        guard let inbox = checkLoop.inbox else { return }
        var questions: [Checker.Question] = []
        for id in due {
            switch question(of: id) {
            case .success(let question): questions.append(question)
            case .failure(let none):
                take(none, of: id)
                finish(id)
            }
        }
        checker.ask(questions, answersTo: inbox)
    }

    private func take(_ answers: [Checker.Answer]) {
        for answer in answers {
            take(answer)
            finish(Int(answer.id))
        }
    }

    private func finish(_ id: Int) {
        health.finish(id, at: clock.now)
        checkLoop.wake(for: health.nextDue)
    }

    private func cancel(_ ids: Set<Int>) {
        guard let inbox = checkLoop.inbox, !ids.isEmpty else { return }
        checker.cancel(Set(ids.map(UInt64.init)), answersTo: inbox)
    }

    /// Sleeps until then, or until something is due sooner.
    private func rest(until end: ContinuousClock.Instant) async {
        let rest = Task { [clock] in _ = try? await clock.sleep(until: end) }
        checkLoop.beginRest(rest, until: end)
        await withTaskCancellationHandler {
            await rest.value
        } onCancel: {
            rest.cancel()
        }
        checkLoop.endRest()
    }

    // MARK: Questions

    /// Why a real server cannot be asked.
    struct NoWay: Error { var reason: String }

    /// The id of the question is the round's.
    func question(of id: Int, isOutOfTurn: Bool = false) -> Result<Checker.Question, NoWay> {
        guard let inquiry = health.inquiry(id) else { return .failure(NoWay(reason: "nobody asks any more")) }
        let round = inquiry.round
        return way(of: round, for: inquiry.member).map { way in
            health.noteAsked(
                id, isOutOfTurn: isOutOfTurn, before: traffic(of: inquiry, by: way, begins: true), at: clock.now)
            return Checker.Question(
                id: UInt64(id), check: round.probe.check.addressed(to: round.server), way: way,
                beside: inquiry.isAskedBeside ? round.server : nil, timeout: round.timeout,
                service: inquiry.member.service)
        }
    }

    /// The packets that the data plane has counted of such checks; nil where it counts none that go this way. `begins`: a
    /// question is about to go out.
    private func traffic(
        of inquiry: HealthSupervisor.Inquiry, by way: Check.Way, begins: Bool
    ) -> CheckTraffic? {
        guard case .tunnel = way, let transport = inquiry.round.probe.check.transport else { return nil }
        return running?.dataPlane.checkTraffic(of: inquiry.member, by: transport, begins: begins)
    }

    private func way(of round: Round, for member: ServiceMember) -> Result<Check.Way, NoWay> {
        guard let dataPlane = running?.dataPlane, let socket = dataPlane.checkSocket(for: member) else {
            return .failure(NoWay(reason: "the director is stopping"))
        }
        // As `refreshPaths` last found it: asking the kernel would cost more than the check.
        guard let path = dataPlane.route(to: member.server) else {
            return .failure(NoWay(reason: nextHops.reasonOfNoWay(to: member.server)))
        }
        guard let vip = round.vip else { return .success(.direct(member.server)) }
        if path.isLocal {
            return .success(.direct(localDestination(vip: vip, server: member.server)))
        }
        return .success(
            .tunnel(vip: vip, mark: socket.mark, device: socket.device, source: path.source))
    }

    // MARK: Answers

    /// Has each service that wants to know take note of the answer.
    func take(_ answer: Checker.Answer, isOutOfTurn: Bool = false) {
        let id = Int(answer.id)
        let before = health.noteAnswered(id, isOutOfTurn: isOutOfTurn)
        if case .failed(let failure) = answer.verdict, !failure.isOwn {
            if !failure.hostAnswered, let round = health.round(id), isOwnFault(round) {
                return health.passOver(answer)
            }
            if let before, let inquiry = health.inquiry(id),
                let after = traffic(of: inquiry, by: answer.way, begins: false),
                let doubt = health.doubt(
                    id, failure, from: before, to: after, checksumErrors: network.checksumErrors)
            {
                return follow(health.passOver(answer, in: doubt, at: clock.now))
            }
        }
        follow(health.take(answer, at: clock.now))
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
        if let host = findings.silentHost { nextHops.askAgain(host) }
    }
}
