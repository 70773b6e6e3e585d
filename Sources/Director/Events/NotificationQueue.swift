internal import DequeModule
internal import LoadBalancing
internal import ServiceConfiguration

/// Which script runs next. Those of a service run one after another, in the order of their events; of different
/// services several at once. Both what runs and what waits is bounded: a script that hangs keeps no memory.
struct NotificationQueue {
    struct Item: Sendable, Hashable {
        var event: DirectorEvent
        var notification: NotificationScript
        /// Whether the event tells how something is at the start, instead of a change.
        var isStart = false
    }

    let parallelism: Int
    /// How many may wait, of a service and in all.
    let perService: Int
    let total: Int

    private var waiting: [ServiceAddress: Deque<Item>] = [:]
    private(set) var waitingCount = 0
    private(set) var running: Set<ServiceAddress> = []
    /// Services whose turn it is, in the order in which they came to wait.
    private var turns: Deque<ServiceAddress> = []

    init(parallelism: Int = 8, perService: Int = 64, total: Int = 4096) {
        self.parallelism = parallelism
        self.perService = perService
        self.total = total
    }

    /// What had to give way: the oldest that waits, since the last word on a service is the one that counts.
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

    /// What is to be started now, if anything; it counts as running until `ended`.
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
