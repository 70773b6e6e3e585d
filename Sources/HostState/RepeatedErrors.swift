public import Logging

/// Errors that were logged, by what they are about: work that is tried again every second must not fill the log.
public struct RepeatedErrors<Subject: Hashable> {
    /// An error that goes on for so long is logged again.
    static var quiet: Duration { .seconds(600) }

    private var logged: [Subject: (reason: String, at: ContinuousClock.Instant)] = [:]
    private var pruned: ContinuousClock.Instant?

    public init() {}

    /// Returns true where the error is to be logged: the first time, with another reason, and after a while again.
    public mutating func isNews(_ subject: Subject, _ reason: String, at now: ContinuousClock.Instant) -> Bool {
        if let past = logged[subject], past.reason == reason, past.at.duration(to: now) < Self.quiet { return false }
        prune(at: now)
        logged[subject] = (reason, now)
        return true
    }

    /// Subjects come and go: those that would be news again need no place. At most once a second, as thousands may fail in a row.
    private mutating func prune(at now: ContinuousClock.Instant) {
        if let pruned, pruned.duration(to: now) < .seconds(1) { return }
        pruned = now
        logged = logged.filter { $0.value.at.duration(to: now) < Self.quiet }
    }

    /// Forgets the subject, which is in order. Returns true where an error was logged about it.
    public mutating func settle(_ subject: @autoclosure () -> Subject) -> Bool {
        !logged.isEmpty && logged.removeValue(forKey: subject()) != nil
    }
}

/// Does pieces of work that are tried again and again, and logs what fails. Owned by one actor.
public final class RepeatedWork {
    private let logger: Logger
    private let now: () -> ContinuousClock.Instant
    private var errors = RepeatedErrors<String>()

    public init(logger: Logger, now: @escaping () -> ContinuousClock.Instant = { .now }) {
        self.logger = logger
        self.now = now
    }

    /// Does one of several pieces of work. Its error keeps no other from being done, and is logged once while it stays the
    /// same.
    public func attempt(_ work: @autoclosure () -> String, _ body: () throws -> Void) {
        do {
            try body()
            if errors.settle(work()) { logger.notice("\(work()): no error any more") }
        } catch {
            if errors.isNews(work(), "\(error)", at: now()) { logger.error("\(work()): \(error)") }
        }
    }
}

extension Sequence {
    /// Goes through all elements, whichever fail, and throws the first error then.
    public func forEachDespiteErrors(_ body: (Element) throws -> Void) throws {
        var first: (any Error)?
        for element in self {
            do { try body(element) } catch { first = first ?? error }
        }
        if let first { throw first }
    }
}
