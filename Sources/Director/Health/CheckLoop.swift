internal import DataPlane
internal import HealthChecks

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
