internal import HealthChecks

/// The state of the loop that asks the rounds which are due: where answers come in, and how long it rests. It has no
/// clock: the caller says what time it is.
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

    /// Opens the inbox. Returns the answers that come in.
    mutating func open() -> AsyncStream<[Checker.Answer]> {
        let (answers, continuation) = AsyncStream.makeStream(of: [Checker.Answer].self)
        inbox = Checker.Inbox { continuation.yield($0) }
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
}
