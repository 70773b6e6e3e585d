internal import HeapModule

/// When to ask what, over and over. It has no clock: whoever calls says what time it is.
///
/// Each question has a phase of its own in its interval, so that thousands of them come evenly. The first round does not
/// wait for it: it begins at once, at `startPace`. While a verdict is near, the faster interval counts; afterwards the
/// question is back in its phase.
public struct CheckSchedule: Sendable {
    public typealias Instant = ContinuousClock.Instant

    public struct Pace: Hashable, Sendable {
        /// From the start of one round to the start of the next.
        public var interval: Duration
        /// The same while a verdict is near; at most `interval`.
        public var fastInterval: Duration

        public init(interval: Duration, fastInterval: Duration) {
            self.interval = interval
            self.fastInterval = fastInterval
        }
    }

    /// Between the first rounds of two questions: 5,000 a second.
    static let startPace = Duration.microseconds(200)

    private struct Entry {
        var pace: Pace
        /// Of the interval.
        var phase: Double
        /// Nil while it is being asked.
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
    /// Turns that are no longer their question's `due` are passed over.
    private var turns = Heap<Turn>()
    private var added = 0

    public init(origin: Instant) { self.origin = origin }

    /// In this order. None of the keys is there already.
    public mutating func add(_ questions: [(key: Int, pace: Pace)], at now: Instant) {
        for (place, question) in questions.enumerated() {
            // Steps of the golden ratio leave gaps as even as can be, however many there are (Knuth, TAOCP 3, 6.4).
            let phase = (Double(added) * 0.618_033_988_749_894_9).truncatingRemainder(dividingBy: 1)
            added += 1
            let wait = min(Self.startPace * place, question.pace.interval * place / questions.count)
            entries[question.key] = Entry(pace: question.pace, phase: phase, due: nil, began: now)
            plan(question.key, at: now + wait)
        }
    }

    public mutating func remove(_ key: Int) { entries[key] = nil }

    /// What to ask now. It is asked until `finish`.
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

    /// The round is over.
    public mutating func finish(_ key: Int, isInTransition: Bool, at now: Instant) {
        guard let entry = entries[key], entry.due == nil else { return }
        var next = turn(of: entry, after: now)
        if isInTransition { next = min(next, max(now, entry.began + entry.pace.fastInterval)) }
        plan(key, at: next)
    }

    /// When the next question is due; nil where all are being asked, or there are none. A time at which nothing is to
    /// be asked any more may be among them.
    public var nextDue: Instant? { turns.min?.due }

    /// The first time in its phase that is later than this.
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
