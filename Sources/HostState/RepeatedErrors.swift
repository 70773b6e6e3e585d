public import Logging

/// The errors that were logged, by their subjects. Work that is retried each second must not fill the log.
public struct RepeatedErrors<Subject: Hashable> {
    /// The time after which a persisting error is logged again.
    static var quiet: Duration { .seconds(600) }

    private var logged: [Subject: (reason: String, at: ContinuousClock.Instant)] = [:]
    private var pruned: ContinuousClock.Instant?

    public init() {}

    /// Returns true where the error is to be logged: the first time, with another reason, and again after `quiet`.
    public mutating func isNews(_ subject: Subject, _ reason: String, at now: ContinuousClock.Instant) -> Bool {
        if let past = logged[subject], past.reason == reason, past.at.duration(to: now) < Self.quiet { return false }
        prune(at: now)
        logged[subject] = (reason, now)
        return true
    }

    /// Removes subjects whose error would be logged again anyway. It does so once a second at most, as thousands may
    /// fail in a row.
    private mutating func prune(at now: ContinuousClock.Instant) {
        if let pruned, pruned.duration(to: now) < .seconds(1) { return }
        pruned = now
        logged = logged.filter { $0.value.at.duration(to: now) < Self.quiet }
    }

    /// Removes a subject whose error is over. Returns whether the error was logged.
    public mutating func settle(_ subject: @autoclosure () -> Subject) -> Bool {
        !logged.isEmpty && logged.removeValue(forKey: subject()) != nil
    }
}

/// Runs work that is retried again and again, and logs its errors. It belongs to one actor.
public final class RepeatedWork {
    private let logger: Logger
    private let now: () -> ContinuousClock.Instant
    private var errors = RepeatedErrors<String>()

    public init(logger: Logger, now: @escaping () -> ContinuousClock.Instant = { .now }) {
        self.logger = logger
        self.now = now
    }

    /// Runs one piece of work. Its error is logged if it is news, see `RepeatedErrors.isNews`, and does not keep other
    /// work from being done.
    public func attempt(_ work: @autoclosure () -> String, _ body: () throws -> Void) {
        do {
            try body()
            if errors.settle(work()) { logger.notice("\(work()): no error any more") }
        } catch {
            if errors.isNews(work(), "\(error)", at: now()) {
                logger.error("\(work()): \(error)", metadata: ["error": "\(error)"])
            }
        }
    }
}

extension Sequence {
    /// Calls `body` for all elements, also after errors, and throws the first error at the end.
    public func forEachDespiteErrors(_ body: (Element) throws -> Void) throws {
        var first: (any Error)?
        for element in self {
            do { try body(element) } catch { first = first ?? error }
        }
        if let first { throw first }
    }
}
