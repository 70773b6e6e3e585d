internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// The schedule of checks out of turn, which clients' unanswered SYNs start. The type has no clock: the caller passes
/// the time.
///
/// Anybody can send SYNs that stay unanswered, or feign handshakes, from spoofed addresses. So a round has at most one
/// series of questions out of turn in each fast interval. The series begins at once, and ends with the first answer
/// that passes. One short disturbance cannot cause all failures of a series: a pause follows a refusal, and a silence
/// lasts as long as the check's time-out.
struct OutOfTurnChecks {
    typealias Instant = ContinuousClock.Instant

    /// The least time from a question's start, or a refusal, to the next question.
    static let distance = Duration.milliseconds(100)

    private struct Series {
        var member: ServiceMember
        /// The time before which the round has no other series.
        var end: Instant
        /// The number of questions that may still fail.
        var left: Int
        /// The earliest time of the next question.
        var earliest: Instant
    }

    /// The last series of each round, by its id.
    private var series: [Int: Series] = [:]
    /// The number of each member's unanswered SYNs at the beginning of its last series.
    private var seen: [ServiceMember: UInt32] = [:]

    /// Returns the members whose number of unanswered SYNs differs from that of their last series.
    mutating func suspects(_ unanswered: [ServiceMember: UInt32]) -> [ServiceMember] {
        seen = seen.filter { unanswered[$0.key] != nil }
        return unanswered.filter { seen[$0.key] != $0.value }.map(\.key)
    }

    /// Begins a series of at most `fall` failures, unless a series of the round still runs, or began within `interval`.
    /// `unanswered` is the number of the member's unanswered SYNs. Returns whether a series begins.
    mutating func begin(
        _ round: Int, for member: ServiceMember, unanswered: UInt32, fall: Int, interval: Duration, at now: Instant
    ) -> Bool {
        if let last = series[round], last.left > 0 || now < last.end { return false }
        seen[member] = unanswered
        series[round] = Series(member: member, end: now + interval, left: fall, earliest: now)
        return fall > 0
    }

    /// Returns the series' member, and the earliest time of its next question, or nil when the series is over.
    func next(_ round: Int) -> (member: ServiceMember, earliest: Instant)? {
        series[round].flatMap { $0.left > 0 ? ($0.member, $0.earliest) : nil }
    }

    /// Delays the next question, as a handshake with the member has completed. Ends the series where its interval is
    /// over.
    mutating func postpone(_ round: Int, at now: Instant) {
        guard let current = series[round] else { return }
        if now >= current.end { series[round]?.left = 0 }
        series[round]?.earliest = now + Self.distance
    }

    /// Notes that a question was sent. The least distance to the next question also holds where the check's time-out is
    /// shorter.
    mutating func noteAsked(_ round: Int, at now: Instant) { series[round]?.earliest = now + Self.distance }

    /// Notes that a question has failed.
    mutating func noteFailure(_ round: Int) {
        if let left = series[round]?.left { series[round]?.left = max(0, left - 1) }
    }

    /// Ends the series, as a question has passed or the round is no longer needed.
    mutating func end(_ round: Int) { series[round]?.left = 0 }

    /// Forgets removed rounds. Their ids are not used again.
    mutating func forget(_ rounds: Set<Int>) {
        for id in rounds { series[id] = nil }
    }
}

/// The checks out of turn of real servers with unanswered SYNs.
extension Director {
    /// The time between two looks for unanswered SYNs, unless a look takes long.
    private static let suspicionPeriod = Duration.milliseconds(20)

    /// Starts checks of real servers with unanswered SYNs, until cancelled.
    func watchSYNs() async {
        while !Task.isCancelled {
            let began = clock.now
            if configuration.watchesSYNs, let dataPlane = running?.dataPlane { checkSuspects(of: dataPlane) }
            // The sleep grows with the duration of the look, so a look at many suspects leaves time for the checks.
            try? await clock.sleep(for: max(Self.suspicionPeriod, began.duration(to: clock.now) * 4))
        }
    }

    /// Starts the series that `OutOfTurnChecks` allows.
    private func checkSuspects(of dataPlane: any DataPlane) {
        let unanswered = dataPlane.unansweredSYNs(atLeast: Self.suspiciousAfter)
        for id in health.suspect(unanswered, at: clock.now) { Task { await askOutOfTurn(id) } }
    }

    /// Sends the questions of one series.
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
