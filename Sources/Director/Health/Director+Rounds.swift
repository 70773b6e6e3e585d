internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// Real servers are asked in rounds, as long as the director runs.
extension Director {
    /// Makes the rounds those of the configuration, and of what was learnt.
    func followRounds() {
        guard isRunning else { return }
        var wanted: [(round: Round, target: ServiceMember)] = []
        for service in configuration.services {
            let questions = states[service.address]?.health.questions ?? []
            for server in service.servers.map(\.address) {
                let target = ServiceMember(service: service.address, server: server)
                wanted += Round.all(of: server, vip: service.address.vip, checks: service.checks, questions: questions)
                    .map { ($0, target) }
            }
        }
        let (gone, hasNew) = rounds.follow(wanted, at: clock.now)
        for id in gone { notAsked[id] = nil }
        cancel(gone)
        if hasNew { rest?.cancel() }
    }

    /// Asks what is due, until cancelled.
    func runRounds() async {
        let (answers, continuation) = AsyncStream.makeStream(of: [Checker.Answer].self)
        inbox = Checker.Inbox { continuation.yield($0) }
        await withDiscardingTaskGroup { group in
            group.addTask { for await some in answers { await self.take(some) } }
            while !Task.isCancelled {
                begin(rounds.takeDue(at: clock.now))
                // Thousands a second are begun some at a time.
                beginsNext = clock.now + .milliseconds(4)
                await rest(until: max(rounds.nextDue ?? beginsNext + .seconds(1), beginsNext))
            }
            group.cancelAll()
        }
        cancel(rounds.ids)
        inbox = nil
    }

    private func begin(_ due: [Int]) {
        guard let inbox else { return }
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
        guard let active = rounds[id] else { return }
        let isInTransition = active.targets.contains {
            states[$0.service]?.health.isInTransition(active.round.probe, of: $0.server) ?? false
        }
        rounds.finish(id, isInTransition: isInTransition, at: clock.now)
        if let due = rounds.nextDue, max(due, beginsNext) < restsUntil { rest?.cancel() }
    }

    private func cancel(_ ids: Set<Int>) {
        guard let inbox, !ids.isEmpty else { return }
        checker.cancel(Set(ids.map(UInt64.init)), answersTo: inbox)
    }

    private func rest(until end: ContinuousClock.Instant) async {
        let rest = Task { [clock] in _ = try? await clock.sleep(until: end) }
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
