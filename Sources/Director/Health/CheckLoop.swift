internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// The state of the loop that sends the questions of due rounds: the inbox of answers, the answers that wait, and the
/// time until the next turn. The type has no clock: the caller passes the time.
struct CheckLoop {
    typealias Instant = ContinuousClock.Instant

    /// The least time between two turns, so that thousands of rounds a second begin in groups.
    static let pause = Duration.milliseconds(4)
    /// The additional rest while every round has an open question.
    static let idleRest = Duration.seconds(1)

    /// The inbox of answers. Nil while the loop does not run.
    private(set) var inbox: Checker.Inbox?
    /// The sleep until the next turn, with its end.
    private var rest: (task: Task<Void, Never>, end: Instant)?
    /// The earliest time of the next turn.
    private var earliest: Instant?
    /// The look at the check path that is under way. Nil for none.
    var look: Task<Void, Never>?
    /// The answers that wait for the end of the look, in the order of their arrival.
    private var held: [ArrivedAnswer] = []

    /// Opens the inbox. Returns the stream of answers.
    mutating func open() -> AsyncStream<[Checker.Answer]> {
        let (inbox, answers) = Checker.Inbox.makeStream()
        self.inbox = inbox
        return answers
    }

    mutating func close() { inbox = nil }

    /// Notes that the due rounds have begun. Returns the time of the next turn. `nextDue` is nil when all rounds have
    /// open questions.
    mutating func endTurn(nextDue: Instant?, at now: Instant) -> Instant {
        let earliest = now + Self.pause
        self.earliest = earliest
        return max(nextDue ?? earliest + Self.idleRest, earliest)
    }

    /// Stores the sleep until the next turn, which `wake(for:)` may end early.
    mutating func beginRest(_ task: Task<Void, Never>, until end: Instant) { rest = (task, end) }

    mutating func endRest() { rest = nil }

    /// Ends the rest early where a round is due, at `due`, before the rest's end.
    func wake(for due: Instant?) {
        guard let due, let rest, max(due, earliest ?? due) < rest.end else { return }
        rest.task.cancel()
    }

    // MARK: Answers that wait

    mutating func hold(_ answer: ArrivedAnswer) { held.append(answer) }

    func holdsAnswer(of round: Int) -> Bool { held.contains { $0.round == round } }

    /// Ends the look at the check path. Returns the answers that waited for it, in order.
    mutating func endLook() -> [ArrivedAnswer] {
        defer { held = [] }
        look = nil
        return held
    }
}

/// An answer with the time of its arrival, and the packet counts around its question.
struct ArrivedAnswer {
    var answer: Checker.Answer
    var isOutOfTurn: Bool
    var time: ContinuousClock.Instant
    /// The packet counts of the real server's checks, from before the question and from the arrival of a failure. Nil
    /// for other answers, and where no packets are counted.
    var traffic: (before: CheckTraffic, after: CheckTraffic)?

    var round: Int { Int(answer.id) }

    /// Whether the question was sent, and got no answer.
    var isSilence: Bool {
        if case .failed(let failure) = answer.verdict { !failure.isOwn && !failure.hostAnswered } else { false }
    }
}

/// The loop of checks: it sends the questions of due rounds, and judges their answers.
extension Director {
    // MARK: The loop

    /// Sends the questions of due rounds, until cancelled.
    func runChecks() async {
        let answers = checkLoop.open()
        updateRounds()
        await withDiscardingTaskGroup { group in
            group.addTask { for await batch in answers { await self.accept(batch) } }
            while !Task.isCancelled {
                begin(health.takeDue(at: clock.now))
                await rest(until: checkLoop.endTurn(nextDue: health.nextDue, at: clock.now))
            }
            group.cancelAll()
        }
        cancel(health.roundIDs)
        checkLoop.close()
    }

    /// Updates the rounds to the configuration and the learnt ports.
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
                noteNoWay(none, of: id)
                finish(id)
            }
        }
        checker.ask(questions, answersTo: inbox)
    }

    private func accept(_ answers: [Checker.Answer]) {
        for answer in answers where accept(answer) { finish(Int(answer.id)) }
    }

    private func finish(_ id: Int) {
        health.finish(id, at: clock.now)
        checkLoop.wake(for: health.nextDue)
    }

    private func cancel(_ ids: Set<Int>) {
        guard let inbox = checkLoop.inbox, !ids.isEmpty else { return }
        checker.cancel(Set(ids.map(UInt64.init)), answersTo: inbox)
    }

    /// Sleeps until `end`, or until a round is due sooner.
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

    /// The error of a question that has no way to its real server.
    struct NoWay: Error { var reason: String }

    /// Returns the question of a round, and notes the packet counts from before the question. The question has the
    /// round's id.
    func question(of id: Int, isOutOfTurn: Bool = false) -> Result<Checker.Question, NoWay> {
        guard let inquiry = health.inquiry(id) else { return .failure(NoWay(reason: "the check was removed")) }
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

    /// Returns the packet counts of the inquiry's checks, or nil if checks on this way are not counted. `begins` says
    /// that a question is sent right after the call.
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
        // The route is that of the last `refreshPaths`. A look-up in the kernel would cost more than the check.
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

    /// Judges an answer for each service of its round. Returns false if the answer waits for a look at the check path.
    /// Such an answer is judged when the look ends.
    func accept(_ answer: Checker.Answer, isOutOfTurn: Bool = false) -> Bool {
        var arrived = ArrivedAnswer(answer: answer, isOutOfTurn: isOutOfTurn, time: clock.now)
        let before = health.noteAnswered(arrived.round, isOutOfTurn: isOutOfTurn)
        if case .failed(let failure) = answer.verdict, !failure.isOwn, let before,
            let inquiry = health.inquiry(arrived.round),
            let after = traffic(of: inquiry, by: answer.way, begins: false)
        {
            arrived.traffic = (before, after)
        }
        if waitsForLook(arrived) {
            checkLoop.hold(arrived)
            return false
        }
        judge(arrived)
        return true
    }

    /// Returns whether the answer waits for a look at the check path. Later answers of the same round wait, too, so
    /// that they stay in order.
    private func waitsForLook(_ arrived: ArrivedAnswer) -> Bool {
        if checkLoop.holdsAnswer(of: arrived.round) { return true }
        guard arrived.isSilence, health.round(arrived.round)?.vip != nil else { return false }
        return beginLook(at: arrived.time)
    }

    /// Starts a look at the check path, unless a look is under way. Returns false where no look can start: the last one
    /// was too recent, or the director does not forward.
    private func beginLook(at now: ContinuousClock.Instant) -> Bool {
        if checkLoop.look != nil { return true }
        guard resources.mayLook(at: now), let running, running.isForwarding else { return false }
        checkLoop.look = Task {
            let isWhole = await running.dataPlane.isCheckPathWhole()
            // The director may have been stopped or reloaded meanwhile.
            if !isWhole, let running = self.running, running.isForwarding {
                report(running.dataPlane.repairCheckPath())
            }
            resources.noteLook(from: now, to: clock.now)
            for arrived in checkLoop.endLook() where self.running != nil {
                judge(arrived)
                if !arrived.isOutOfTurn { finish(arrived.round) }
            }
        }
        return true
    }

    /// Records an answer, except a failure that the check path or the packet counts show to be this machine's own
    /// fault.
    private func judge(_ arrived: ArrivedAnswer) {
        let answer = arrived.answer
        if case .failed(let failure) = answer.verdict, !failure.isOwn {
            if arrived.isSilence, let round = health.round(arrived.round), round.vip != nil,
                resources.excuseFailure(after: round.timeout, at: arrived.time)
            {
                return health.passOver(answer)
            }
            if let (before, after) = arrived.traffic,
                let doubt = health.doubt(
                    arrived.round, failure, from: before, to: after, checksumErrors: network.checksumErrors)
            {
                return apply(health.passOver(answer, in: doubt, at: clock.now))
            }
        }
        apply(health.accept(answer, at: clock.now))
    }

    /// Records a failure without a question, for lack of a way to the real server.
    func noteNoWay(_ none: NoWay, of id: Int) {
        apply(health.noteNoWay(id, none.reason, at: clock.now))
    }

    private func apply(_ findings: HealthSupervisor.Findings) {
        if let shortage = findings.shortage {
            var fields: Logger.Metadata = ["reason": "\(shortage)"]
            if !findings.inDoubt.isEmpty {
                fields["event"] = "\(DirectorEvent.Kind.checkPathInDoubt.rawValue)"
                fields["services"] = "\(findings.inDoubt.count)"
                if findings.inDoubt.count == 1 { fields["service"] = "\(findings.inDoubt[0].service)" }
            }
            logger.error("health checks: \(shortage)", metadata: fields)
        }
        for (service, reason) in findings.inDoubt { publish(.checkPathInDoubt, of: service, reason: reason) }
        for (service, changes) in findings.changes { apply(changes, of: service) }
        if let dataPlane = running?.dataPlane {
            for (member, ports) in findings.answeredPorts {
                attempt("note the ports that \(member.server) answers") {
                    try dataPlane.setAnsweredPorts(ports, of: member)
                }
            }
        }
        if let host = findings.silentHost { nextHops.requestMAC(host) }
    }
}
