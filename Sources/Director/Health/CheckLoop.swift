internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// The state of the loop that asks the rounds which are due: where answers come in, which of them wait, and how long the loop
/// rests. It has no clock: the caller says what time it is.
struct CheckLoop {
    typealias Instant = ContinuousClock.Instant

    /// Thousands of rounds a second are begun some at a time.
    static let pause = Duration.milliseconds(4)
    /// The rest while no round is due.
    static let idleRest = Duration.seconds(1)

    /// Takes the answers; nil while the loop does not run.
    private(set) var inbox: Checker.Inbox?
    /// The sleep until the next turn, and when it ends.
    private var rest: (task: Task<Void, Never>, end: Instant)?
    /// No turn comes before this time.
    private var earliest: Instant?
    /// The look at the check path that is under way.
    var look: Task<Void, Never>?
    /// The answers that wait for its end, in the order in which they came.
    private var held: [ArrivedAnswer] = []

    /// Opens the inbox. Returns the answers that come in.
    mutating func open() -> AsyncStream<[Checker.Answer]> {
        let (inbox, answers) = Checker.Inbox.makeStream()
        self.inbox = inbox
        return answers
    }

    mutating func close() { inbox = nil }

    /// Notes that the due rounds have begun. Returns when the next turn comes; `nextDue`: nil when all are out.
    mutating func endTurn(nextDue: Instant?, at now: Instant) -> Instant {
        let earliest = now + Self.pause
        self.earliest = earliest
        return max(nextDue ?? earliest + Self.idleRest, earliest)
    }

    /// Takes the sleep until the next turn, which `wake(for:)` may cut short.
    mutating func beginRest(_ task: Task<Void, Never>, until end: Instant) { rest = (task, end) }

    mutating func endRest() { rest = nil }

    /// Ends the rest where a round is due before its end.
    func wake(for due: Instant?) {
        guard let due, let rest, max(due, earliest ?? due) < rest.end else { return }
        rest.task.cancel()
    }

    // MARK: Answers that wait

    mutating func hold(_ answer: ArrivedAnswer) { held.append(answer) }

    func holdsAnswer(of round: Int) -> Bool { held.contains { $0.round == round } }

    /// Ends the look. Returns the answers that waited for it, in order.
    mutating func endLook() -> [ArrivedAnswer] {
        defer { held = [] }
        look = nil
        return held
    }
}

/// An answer with what was known when it came.
struct ArrivedAnswer {
    var answer: Checker.Answer
    var isOutOfTurn: Bool
    var time: ContinuousClock.Instant
    /// The packets of the real server's checks, counted before the question went out and when a failure came; nil where none
    /// are counted.
    var traffic: (before: CheckTraffic, after: CheckTraffic)?

    var round: Int { Int(answer.id) }

    /// Nobody answered, and nothing kept this machine from asking.
    var isSilence: Bool {
        if case .failed(let failure) = answer.verdict { !failure.isOwn && !failure.hostAnswered } else { false }
    }
}

/// Real servers are asked in rounds as long as the director runs, and their answers become findings.
extension Director {
    // MARK: The loop

    /// Asks what is due, until cancelled.
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

    /// Takes an answer for each service that the round is for. Returns false where the answer waits for a look at the check
    /// path; the end of the look takes it.
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

    /// Whether the check path is looked at before the answer counts. A round's later answers wait, too, to stay in order.
    private func waitsForLook(_ arrived: ArrivedAnswer) -> Bool {
        if checkLoop.holdsAnswer(of: arrived.round) { return true }
        guard arrived.isSilence, health.round(arrived.round)?.vip != nil else { return false }
        return beginLook(at: arrived.time)
    }

    /// Has a look at the check path be under way. Returns false where the last one was a moment ago.
    private func beginLook(at now: ContinuousClock.Instant) -> Bool {
        if checkLoop.look != nil { return true }
        guard resources.mayLook(at: now), let running, running.isForwarding else { return false }
        checkLoop.look = Task {
            let isWhole = await running.dataPlane.isCheckPathWhole()
            // A stop or a reload may have come meanwhile.
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

    /// Judges by the state of the check path whether the answer says something of the real server.
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

    /// Nothing was asked, for want of a way.
    func noteNoWay(_ none: NoWay, of id: Int) {
        apply(health.noteNoWay(id, none.reason, at: clock.now))
    }

    private func apply(_ findings: HealthSupervisor.Findings) {
        if let shortage = findings.shortage { logger.error("health checks: \(shortage)") }
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
