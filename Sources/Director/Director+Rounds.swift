internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// What is asked of which real server at which pace.
extension Director {
    /// One question, asked over and over. Services that ask the same of the same host share it.
    struct Round: Hashable {
        var server: IPv4Address
        /// To which the question goes through the tunnel; nil: it goes to the server's own address.
        var vip: IPv4Address?
        var probe: Probe
        var pace: CheckSchedule.Pace
        var timeout: Duration
    }

    /// A round, and who wants to know.
    struct ActiveRound {
        var round: Round
        var targets: [Target]
        var task: Task<Void, Never>?
    }

    /// What a service asks of each of its real servers now.
    private func rounds(of service: ServiceAddress) -> [Round] {
        let nobody = IPv4Address(0)
        switch configuration.checks(of: service) {
        case .policy(let policy) where policy.kind == .none: return []
        case .policy(let policy):
            let pace = CheckSchedule.Pace(interval: policy.interval, fastInterval: policy.fastInterval)
            return (states[service]?.health.questions ?? []).sorted { $0.description < $1.description }.map {
                Round(server: nobody, vip: service.vip, probe: $0, pace: pace, timeout: policy.timeout)
            }
        case .listed(let checks):
            return checks.map {
                Round(
                    server: nobody, vip: $0.via == .direct ? nil : service.vip, probe: $0.probe,
                    pace: CheckSchedule.Pace(interval: $0.interval, fastInterval: $0.fastInterval), timeout: $0.timeout)
            }
        }
    }

    /// The most failures in a row that any of the service's checks needs for a verdict.
    func fall(of service: ServiceAddress) -> Int {
        switch configuration.checks(of: service) {
        case .policy(let policy): policy.fall
        case .listed(let checks): checks.map(\.fall).max() ?? 0
        }
    }

    /// Makes the running rounds those of the configuration. What stays is not disturbed.
    func followRounds() {
        guard isRunning else { return }
        var wanted: [Round: [Target]] = [:]
        var order: [Round] = []
        for service in configuration.services {
            let asked = rounds(of: service.address)
            for server in service.servers {
                for var round in asked {
                    round.server = server.address
                    if wanted[round] == nil { order.append(round) }
                    wanted[round, default: []].append(Target(service: service.address, server: server.address))
                }
            }
        }
        roundsOfTarget = [:]
        var present: Set<Round> = []
        for (id, active) in rounds {
            if let targets = wanted[active.round] {
                rounds[id]?.targets = targets
                present.insert(active.round)
                for target in targets { roundsOfTarget[target, default: []].append(id) }
            } else {
                active.task?.cancel()
                schedule.remove(id)
                rounds[id] = nil
            }
        }
        var added: [(key: Int, pace: CheckSchedule.Pace)] = []
        for round in order where !present.contains(round) {
            lastRound += 1
            rounds[lastRound] = ActiveRound(round: round, targets: wanted[round] ?? [])
            for target in wanted[round] ?? [] { roundsOfTarget[target, default: []].append(lastRound) }
            added.append((lastRound, round.pace))
        }
        schedule.add(added, at: .now)
        if !added.isEmpty { rest?.cancel() }
    }

    /// Asks what is due, until cancelled.
    func runRounds() async {
        let (answers, continuation) = AsyncStream.makeStream(of: [ProbeLoop.Answer].self)
        let inbox = ProbeLoop.Inbox { continuation.yield($0) }
        pairs = [:]
        await withDiscardingTaskGroup { group in
            group.addTask { for await some in answers { await self.take(some) } }
            while !Task.isCancelled {
                begin(schedule.takeDue(at: .now), answersTo: inbox)
                // Thousands a second are begun a few at a time.
                let soon = ContinuousClock.now + .milliseconds(1)
                await rest(until: max(schedule.nextDue ?? soon + .seconds(1), soon))
            }
            group.cancelAll()
        }
        for active in rounds.values { active.task?.cancel() }
    }

    /// Connects and pings need no task each: they go together, and so do their answers.
    private func begin(_ due: [Int], answersTo inbox: ProbeLoop.Inbox) {
        var questions: [ProbeLoop.Question] = []
        for id in due {
            if let own = self.questions(of: id) {
                questions += own
            } else {
                rounds[id]?.task = Task { await self.run(id) }
            }
        }
        ProbeLoop.shared.ask(questions, answersTo: inbox)
    }

    private func take(_ answers: [ProbeLoop.Answer]) {
        for answer in answers {
            let id = Int(answer.question.id / 2)
            if take(answer, of: id) { finish(id) }
        }
    }

    private func run(_ id: Int) async {
        await ask(id)
        rounds[id]?.task = nil
        finish(id)
    }

    private func finish(_ id: Int) {
        guard let active = rounds[id] else { return }
        let isInTransition = active.targets.contains {
            states[$0.service]?.health.isInTransition(active.round.probe, of: $0.server) ?? false
        }
        schedule.finish(id, isInTransition: isInTransition, at: .now)
        if let due = schedule.nextDue, due < restsUntil { rest?.cancel() }
    }

    private func rest(until end: ContinuousClock.Instant) async {
        let rest = Task { _ = try? await ContinuousClock().sleep(until: end) }
        self.rest = rest
        restsUntil = end
        await withTaskCancellationHandler {
            await rest.value
        } onCancel: {
            rest.cancel()
        }
        self.rest = nil
    }
}

extension ServiceCheck {
    var probe: Probe { .check(check, via: via) }
}
