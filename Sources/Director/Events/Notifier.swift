internal import DequeModule
internal import HealthChecks
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration
internal import Synchronization

/// Runs the notification scripts of events. Its callers do not wait for scripts.
final class Notifier: Sendable {
    private struct State {
        var queue = NotificationQueue()
        var counts = DirectorMetrics.Scripts()
        var programs: [ServiceAddress: ProgramRun] = [:]
        var isStopped = false
    }

    private let state = Mutex(State())
    private let logger: Logger

    init(logger: Logger) { self.logger = logger }

    var counts: DirectorMetrics.Scripts { state.withLock(\.counts) }

    func enqueue(_ event: DirectorEvent, for notification: NotificationScript, isStart: Bool) {
        let (dropped, number) = state.withLock { state -> (NotificationQueue.Item?, UInt64) in
            guard !state.isStopped else { return (nil, 0) }
            let dropped = state.queue.add(
                .init(event: event, notification: notification, isStart: isStart))
            if dropped != nil { state.counts.dropped += 1 }
            return (dropped, state.counts.dropped)
        }
        // Only every hundredth dropped event is logged, from the first one on.
        if let dropped, number % 100 == 1 {
            logger.error(
                "notify \(dropped.notification.command[0]): the queue is full; \(dropped.event.kind.rawValue) of \(dropped.event.service) is dropped, the \(number). of all",
                metadata: Self.fields(of: dropped))
        }
        startReady()
    }

    /// Kills the scripts that run, and starts no further scripts.
    func stop() {
        let programs = state.withLock { state in
            state.isStopped = true
            return Array(state.programs.values)
        }
        for program in programs { program.kill() }
    }

    private func startReady() {
        while let (item, program) = next() { program.run { ending in self.ended(item, ending) } }
    }

    /// Returns the next script to start, or nil. Registers the script under the same lock, so that `stop` finds it. A
    /// program that `stop` has killed does not start.
    private func next() -> (NotificationQueue.Item, ProgramRun)? {
        state.withLock { state in
            guard !state.isStopped, let item = state.queue.next() else { return nil }
            let program = Self.program(for: item)
            state.programs[item.event.service] = program
            return (item, program)
        }
    }

    private static func program(for item: NotificationQueue.Item) -> ProgramRun {
        var environment = item.event.environment(isStart: item.isStart)
        environment["PATH"] = ProgramRun.path
        return ProgramRun(
            arguments: item.notification.command, environment: environment, deadline: item.notification.timeout)
    }

    private func ended(_ item: NotificationQueue.Item, _ ending: ProgramRun.Ending) {
        let subject = "notify \(item.notification.command[0]) of \(item.event.kind.rawValue) of \(item.event.service)"
        let fields = Self.fields(of: item)
        for line in ending.lines { logger.info("\(subject): \(line)", metadata: fields) }
        if let failure = ending.failure {
            logger.error("\(subject): \(failure)", metadata: fields.merging(["error": "\(failure)"]) { $1 })
        }
        state.withLock { state in
            state.programs[item.event.service] = nil
            state.queue.ended(item.event.service)
            if ending.timedOut {
                state.counts.timedOut += 1
            } else if ending.failure == nil {
                state.counts.succeeded += 1
            } else {
                state.counts.failed += 1
            }
        }
        startReady()
    }

    /// Returns the fields of a log line about an item.
    private static func fields(of item: NotificationQueue.Item) -> Logger.Metadata {
        let event = item.event
        var fields: Logger.Metadata = [
            "command": "\(item.notification.command[0])", "event": "\(event.kind.rawValue)",
            "service": "\(event.service)",
        ]
        fields["server"] = event.server.map { "\($0)" }
        return fields
    }
}

/// The order of scripts. Scripts of one service run one after another, in the order of their events. Scripts of
/// different services run at the same time. The numbers of running and of waiting scripts are bounded, so a hanging
/// script costs little memory.
struct NotificationQueue {
    struct Item: Sendable, Hashable {
        var event: DirectorEvent
        var notification: NotificationScript
        /// Whether the event describes a state at the start, not a change.
        var isStart = false
    }

    /// The largest number of running scripts.
    let parallelism: Int
    /// The largest number of waiting scripts of one service.
    let perService: Int
    /// The largest number of all waiting scripts.
    let total: Int

    private var waiting: [ServiceAddress: Deque<Item>] = [:]
    private(set) var waitingCount = 0
    private(set) var running: Set<ServiceAddress> = []
    /// The services whose scripts may start, in the order of their arrival.
    private var turns: Deque<ServiceAddress> = []

    init(parallelism: Int = 8, perService: Int = 64, total: Int = 4096) {
        self.parallelism = parallelism
        self.perService = perService
        self.total = total
    }

    /// Adds an item. At a limit, removes and returns the oldest waiting item of the same service, or of the service
    /// with the most waiting items. A service's last event matters most.
    mutating func add(_ item: Item) -> Item? {
        let service = item.event.service
        var dropped: Item?
        if waiting[service, default: []].count >= perService {
            dropped = removeFirst(of: service)
        } else if waitingCount >= total, let longest = waiting.max(by: { $0.value.count < $1.value.count })?.key {
            dropped = removeFirst(of: longest)
        }
        if waiting[service] == nil, !running.contains(service) { turns.append(service) }
        waiting[service, default: []].append(item)
        waitingCount += 1
        return dropped
    }

    /// Removes and returns the item to start now, or returns nil. The item's service counts as running until `ended`.
    mutating func next() -> Item? {
        guard running.count < parallelism, !turns.isEmpty else { return nil }
        let service = turns.removeFirst()
        guard let item = removeFirst(of: service) else { return nil }
        running.insert(service)
        return item
    }

    mutating func ended(_ service: ServiceAddress) {
        guard running.remove(service) != nil, waiting[service] != nil else { return }
        turns.append(service)
    }

    private mutating func removeFirst(of service: ServiceAddress) -> Item? {
        guard var items = waiting[service], !items.isEmpty else { return nil }
        let first = items.removeFirst()
        waiting[service] = items.isEmpty ? nil : items
        if items.isEmpty { turns.removeAll { $0 == service } }
        waitingCount -= 1
        return first
    }
}
