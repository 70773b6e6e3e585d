internal import CLinux
internal import DequeModule
internal import Glibc
internal import Synchronization

/// Threads for work that may block or take long, and must not run on an event loop. There are at most `limit` threads,
/// and idle threads end. Of the work of one key, one piece runs at a time. Keys take turns, so a key with much work
/// delays another key by at most one piece.
final class WorkThreads<Key: Hashable & Sendable>: Sendable {
    /// A submitted piece of work.
    final class Ticket: Sendable {
        fileprivate let key: Key
        fileprivate let work: @Sendable () -> Void
        private let begun = Atomic(false)

        fileprivate init(_ key: Key, _ work: @escaping @Sendable () -> Void) {
            self.key = key
            self.work = work
        }

        var hasBegun: Bool { begun.load(ordering: .relaxed) }

        fileprivate func begin() {
            begun.store(true, ordering: .relaxed)
            work()
        }
    }

    private struct Queues {
        /// The waiting work of each key, in order of submission.
        var waiting: [Key: Deque<Ticket>] = [:]
        /// The keys with waiting work and none running, in the order of their turns.
        var turns: Deque<Key> = []
        var busy: Set<Key> = []
        var threads = 0
    }

    private let limit: Int
    private let queues = Mutex(Queues())

    init(limit: Int) { self.limit = limit }

    func run(_ key: Key, _ work: @escaping @Sendable () -> Void) -> Ticket {
        let ticket = Ticket(key, work)
        let needsThread = queues.withLock { queues in
            if queues.waiting[key, default: []].isEmpty, !queues.busy.contains(key) { queues.turns.append(key) }
            queues.waiting[key, default: []].append(ticket)
            guard !queues.turns.isEmpty, queues.threads < limit else { return false }
            queues.threads += 1
            return true
        }
        // If no thread can be started, the work waits until a thread has finished another piece.
        if needsThread, DetachedThread.start({ self.work() }) != nil { queues.withLock { $0.threads -= 1 } }
        return ticket
    }

    /// Withdraws a piece of work, unless it has begun.
    func withdraw(_ ticket: Ticket) {
        queues.withLock { queues in
            queues.waiting[ticket.key]?.removeAll { $0 === ticket }
            guard queues.waiting[ticket.key]?.isEmpty == true else { return }
            queues.waiting[ticket.key] = nil
            queues.turns.removeAll { $0 == ticket.key }
        }
    }

    /// Returns whether a piece of the key's work is running.
    func isBusy(with key: Key) -> Bool { queues.withLock { $0.busy.contains(key) } }

    /// Runs pieces of work on a thread until there are none.
    private func work() {
        var done: Key?
        while let ticket = next(after: done) {
            ticket.begin()
            done = ticket.key
        }
    }

    /// Returns the next piece of work, given the key of the piece that has ended, if any. Returns nil, and stops
    /// counting the thread, if there is none.
    private func next(after done: Key?) -> Ticket? {
        queues.withLock { queues in
            if let done {
                queues.busy.remove(done)
                if queues.waiting[done] != nil { queues.turns.append(done) }
            }
            guard !queues.turns.isEmpty else {
                queues.threads -= 1
                return nil
            }
            let key = queues.turns.removeFirst()
            let ticket = queues.waiting[key]?.removeFirst()
            if queues.waiting[key]?.isEmpty == true { queues.waiting[key] = nil }
            queues.busy.insert(key)
            return ticket
        }
    }
}

/// A detached thread.
enum DetachedThread {
    private final class Work {
        let body: @Sendable () -> Void

        init(body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// Starts a thread. Returns nil, or the reason of the failure.
    static func start(_ body: @escaping @Sendable () -> Void) -> ScriptFailure? {
        let work = Unmanaged.passRetained(Work(body: body))
        let code = clinux_start_thread(
            { argument in
                if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, work.toOpaque())
        guard code == 0 else {
            work.release()
            return ScriptFailure(reason: "start a thread: \(String(cString: strerror(code)))")
        }
        return nil
    }
}
