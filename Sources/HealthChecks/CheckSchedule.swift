internal import HeapModule

/// The schedule of repeated questions to real servers. It has no clock: callers pass the time.
///
/// Each question has a phase of its own within its interval, so that thousands of questions are spread evenly. The
/// first rounds ignore the phases. They begin `startPace` apart, or closer if they would take longer than an interval.
/// While a verdict is near, the fast interval applies to a question. After that, the question returns to its phase.
public struct CheckSchedule: Sendable {
    public typealias Instant = ContinuousClock.Instant

    public struct Pace: Hashable, Sendable {
        /// The time from the start of one round to the start of the next.
        public var interval: Duration
        /// The interval while a verdict is near. It is at most `interval`.
        public var fastInterval: Duration

        public init(interval: Duration, fastInterval: Duration) {
            self.interval = interval
            self.fastInterval = fastInterval
        }
    }

    /// The longest time between two consecutive first rounds, for 5,000 starts a second.
    static let startPace = Duration.microseconds(200)

    private struct Entry {
        var pace: Pace
        /// The start of a round within the interval, as a fraction of it.
        var phase: Double
        /// The start of the next round, or nil while a round is under way.
        var due: Instant?
        var began: Instant
    }

    private struct Turn: Comparable {
        var due: Instant
        var key: Int

        static func < (one: Turn, other: Turn) -> Bool { one.due < other.due }
    }

    private let origin: Instant
    private var entries: [Int: Entry] = [:]
    /// The planned starts, earliest first. A turn is obsolete if its time is not the `due` of its question.
    private var turns = Heap<Turn>()
    private var added = 0

    public init(origin: Instant) { self.origin = origin }

    /// Adds questions, whose first rounds start in this order. The keys must be new.
    public mutating func add(_ questions: [(key: Int, pace: Pace)], at now: Instant) {
        for (place, question) in questions.enumerated() {
            // Steps of the golden ratio keep the gaps even for any number of questions (Knuth, TAOCP 3, 6.4).
            let phase = (Double(added) * 0.618_033_988_749_894_9).truncatingRemainder(dividingBy: 1)
            added += 1
            let wait = min(Self.startPace * place, question.pace.interval * place / questions.count)
            entries[question.key] = Entry(pace: question.pace, phase: phase, due: nil, began: now)
            plan(question.key, at: now + wait)
        }
    }

    public mutating func remove(_ key: Int) { entries[key] = nil }

    /// Returns the keys of the questions that are due, and starts their rounds. A round lasts until `finish`.
    public mutating func takeDue(at now: Instant) -> [Int] {
        var keys: [Int] = []
        while let first = turns.min, first.due <= now || entries[first.key]?.due != first.due {
            turns.removeMin()
            guard first.due <= now, entries[first.key]?.due == first.due else { continue }
            entries[first.key]?.due = nil
            entries[first.key]?.began = now
            keys.append(first.key)
        }
        return keys
    }

    /// Ends the round of a question, and plans the next round. `isInTransition` says that a verdict is near, so that
    /// the fast interval applies.
    public mutating func finish(_ key: Int, isInTransition: Bool, at now: Instant) {
        guard let entry = entries[key], entry.due == nil else { return }
        var next = turn(of: entry, after: now)
        if isInTransition { next = min(next, max(now, entry.began + entry.pace.fastInterval)) }
        plan(key, at: next)
    }

    /// The time of the next planned start, or nil if there is none. An obsolete turn counts, too, so the time may be
    /// too early.
    public var nextDue: Instant? { turns.min?.due }

    /// Returns the first time in the question's phase that is later than `now`.
    private func turn(of entry: Entry, after now: Instant) -> Instant {
        let interval = entry.pace.interval
        let passed = (now - origin) / interval - entry.phase
        let next = origin + interval * (passed.rounded(.down) + 1 + entry.phase)
        return next > now ? next : next + interval
    }

    private mutating func plan(_ key: Int, at due: Instant) {
        entries[key]?.due = due
        turns.insert(Turn(due: due, key: key))
    }
}
