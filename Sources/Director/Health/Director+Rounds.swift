internal import HealthChecks

/// The loop that asks real servers in rounds, as long as the director runs.
extension Director {
    /// Makes the rounds those of the configuration, and of what was learnt.
    func updateRounds() {
        guard isRunning else { return }
        let (gone, hasNew) = health.updateRounds(for: configuration, at: clock.now)
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
                begin(health.takeDue(at: clock.now))
                // Thousands a second are begun some at a time.
                beginsNext = clock.now + .milliseconds(4)
                await rest(until: max(health.nextDue ?? beginsNext + .seconds(1), beginsNext))
            }
            group.cancelAll()
        }
        cancel(health.roundIDs)
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
        health.finish(id, at: clock.now)
        if let due = health.nextDue, max(due, beginsNext) < restsUntil { rest?.cancel() }
    }

    private func cancel(_ ids: Set<Int>) {
        guard let inbox, !ids.isEmpty else { return }
        checker.cancel(Set(ids.map(UInt64.init)), answersTo: inbox)
    }

    /// Sleeps until then, or until `rest` is cancelled because something is due sooner.
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
