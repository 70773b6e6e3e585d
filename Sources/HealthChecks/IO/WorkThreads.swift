internal import CLinux
internal import DequeModule
internal import Glibc
internal import Synchronization

/// Threads for what may stall or take long and so has no place on an event loop: `limit` at most, which end when there
/// is nothing to do. Work of one key is done one piece at a time, and keys take turns: none keeps the others waiting for
/// more than a piece of its work.
final class WorkThreads<Key: Hashable & Sendable>: Sendable {
    /// A piece of work that was handed in.
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
        /// In the order in which they came.
        var waiting: [Key: Deque<Ticket>] = [:]
        /// Keys whose turn it will be: those with waiting work, of which none is being done.
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
        // Where there is none to be had, the work waits for one that another piece gets.
        if needsThread, DetachedThread.start({ self.work() }) != nil { queues.withLock { $0.threads -= 1 } }
        return ticket
    }

    /// Takes it back, unless it has begun.
    func withdraw(_ ticket: Ticket) {
        queues.withLock { queues in
            queues.waiting[ticket.key]?.removeAll { $0 === ticket }
            guard queues.waiting[ticket.key]?.isEmpty == true else { return }
            queues.waiting[ticket.key] = nil
            queues.turns.removeAll { $0 == ticket.key }
        }
    }

    /// Whether a piece of the key's work is being done.
    func isBusy(with key: Key) -> Bool { queues.withLock { $0.busy.contains(key) } }

    /// A thread's life.
    private func work() {
        var done: Key?
        while let ticket = next(after: done) {
            ticket.begin()
            done = ticket.key
        }
    }

    /// Nil, and the thread is no longer counted, where there is nothing to do.
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

/// A thread that nobody joins.
enum DetachedThread {
    private final class Work {
        let body: @Sendable () -> Void

        init(body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// nil, or why there is none.
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
