internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// Checks out of turn, which unanswered SYNs of clients start: when they begin, and when each is asked. It has no clock:
/// the caller says what time it is.
///
/// Anybody can send SYNs that stay unanswered, or feign handshakes, from addresses that are not theirs. So a round is
/// checked out of turn in one series of questions at most in each fast interval. The series begins at once and ends with
/// the first answer that passes. Its failures are so far apart that a short disturbance cannot cause all of them: a refusal
/// is followed by a pause, and silence lasts as long as the check's time-out.
struct OutOfTurnChecks {
    typealias Instant = ContinuousClock.Instant

    /// At least this time lies between a question's start, or a refusal, and the next question.
    static let distance = Duration.milliseconds(100)

    private struct Series {
        var member: ServiceMember
        /// The round has no other series before this time.
        var end: Instant
        /// The number of questions that may still be asked.
        var left: Int
        /// The next question is not asked before this time.
        var earliest: Instant
    }

    /// The last series of each round, by its id.
    private var series: [Int: Series] = [:]
    /// The unanswered SYNs of members when their last series began.
    private var seen: [ServiceMember: UInt32] = [:]

    /// Returns the members of which more SYNs are unanswered than when they were checked out of turn last.
    mutating func suspects(_ unanswered: [ServiceMember: UInt32]) -> [ServiceMember] {
        seen = seen.filter { unanswered[$0.key] != nil }
        return unanswered.filter { seen[$0.key] != $0.value }.map(\.key)
    }

    /// Begins a series of at most `fall` questions, unless the round had one within this interval. `unanswered`: the
    /// member's SYNs. Returns whether a series begins.
    mutating func begin(
        _ round: Int, for member: ServiceMember, unanswered: UInt32, fall: Int, interval: Duration, at now: Instant
    ) -> Bool {
        if let last = series[round], last.left > 0 || now < last.end { return false }
        seen[member] = unanswered
        series[round] = Series(member: member, end: now + interval, left: fall, earliest: now)
        return fall > 0
    }

    /// Returns whose SYNs the series is about, and the time before which its next question is not asked; nil when the
    /// series is over.
    func next(_ round: Int) -> (member: ServiceMember, earliest: Instant)? {
        series[round].flatMap { $0.left > 0 ? ($0.member, $0.earliest) : nil }
    }

    /// A handshake with the member has completed: the next question waits. The series is over where that lasts.
    mutating func postpone(_ round: Int, at now: Instant) {
        guard let current = series[round] else { return }
        if now >= current.end { series[round]?.left = 0 }
        series[round]?.earliest = now + Self.distance
    }

    /// A question goes out. Time-outs may be shorter than the distance.
    mutating func noteAsked(_ round: Int, at now: Instant) { series[round]?.earliest = now + Self.distance }

    /// A question has failed.
    mutating func noteFailure(_ round: Int) {
        if let left = series[round]?.left { series[round]?.left = max(0, left - 1) }
    }

    /// A question has passed, or nobody wants the series any more.
    mutating func end(_ round: Int) { series[round]?.left = 0 }

    /// Forgets rounds that are no longer asked. Their ids are not used again.
    mutating func forget(_ rounds: Set<Int>) {
        for id in rounds { series[id] = nil }
    }
}

/// Checks out of turn: real servers whose clients' SYNs no ACK follows are checked before their turn.
extension Director {
    /// The time in which a client's second unanswered SYN is noticed, unless looking takes long.
    private static let suspicionPeriod = Duration.milliseconds(20)

    /// Has real servers checked whose clients' SYNs stay unanswered, until cancelled.
    func watchSYNs() async {
        while !Task.isCancelled {
            let began = clock.now
            if configuration.watchesSYNs, let dataPlane = running?.dataPlane { checkSuspects(of: dataPlane) }
            // A look at many suspects leaves time for the checks.
            try? await clock.sleep(for: max(Self.suspicionPeriod, began.duration(to: clock.now) * 4))
        }
    }

    /// Begins what `OutOfTurnChecks` allows.
    private func checkSuspects(of dataPlane: any DataPlane) {
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
                if !accept(answer, isOutOfTurn: true) { await checkLoop.look?.value }
                health.noteOutOfTurn(id, answer.verdict)
            case .failure(let none):
                noteNoWay(none, of: id)
                health.endOutOfTurn(id)
            }
        }
        health.endOutOfTurn(id)
    }
}
