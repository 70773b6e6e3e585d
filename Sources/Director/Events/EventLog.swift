public import Addresses
public import LoadBalancing
internal import Synchronization

/// The director's events, and those who follow them. Whoever follows reads at its own pace: an event waits for nobody.
public final class EventLog: Sendable {
    private struct State {
        var ring: EventRing
        var followers: [Int: AsyncStream<Void>.Continuation] = [:]
        var next = 0
        var counts: [DirectorEvent.Kind: UInt64] = [:]
    }

    private let state: Mutex<State>

    public init(capacity: Int = EventRing.capacity) { state = Mutex(State(ring: EventRing(capacity: capacity))) }

    @discardableResult
    func append(_ event: DirectorEvent) -> DirectorEvent {
        state.withLock { state in
            let numbered = state.ring.append(event)
            state.counts[event.kind, default: 0] += 1
            for follower in state.followers.values { follower.yield() }
            return numbered
        }
    }

    /// All that there ever were.
    var counts: [DirectorEvent.Kind: UInt64] { state.withLock(\.counts) }

    public func read(after sequence: UInt64, filter: EventRing.Filter = .init()) -> EventRing.Batch {
        state.withLock { $0.ring.read(after: sequence, filter: filter) }
    }

    public func start(ofLast count: Int, filter: EventRing.Filter = .init()) -> UInt64 {
        state.withLock { $0.ring.start(ofLast: count, filter: filter) }
    }

    /// An element for one or more new events: what came before the first `read` is not announced.
    public func news() -> AsyncStream<Void> {
        // However many come while nobody looks, one word is enough.
        AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            let id = state.withLock { state in
                state.next += 1
                state.followers[state.next] = continuation
                return state.next
            }
            continuation.onTermination = { [weak self] _ in
                self?.state.withLock { _ = $0.followers.removeValue(forKey: id) }
            }
        }
    }
}

/// The last events, each with its number. A reader that fell behind is told how many it missed.
public struct EventRing: Sendable {
    /// Of a reader: which events it wants.
    public struct Filter: Sendable, Hashable {
        public var service: ServiceAddress?
        public var server: IPAddress?

        public init(service: ServiceAddress? = nil, server: IPAddress? = nil) {
            self.service = service
            self.server = server
        }

        func admits(_ event: DirectorEvent) -> Bool {
            (service ?? event.service) == event.service && (server == nil || server == event.server)
        }
    }

    /// What a reader gets at a time.
    public struct Batch: Sendable, Hashable {
        public var events: [DirectorEvent]
        /// Events of any kind that are no longer kept.
        public var missed: UInt64
        /// The last one that was looked at: where to go on.
        public var last: UInt64
    }

    public static let capacity = 1000

    private let capacity: Int
    private var events: [DirectorEvent] = []
    /// Where the oldest is, once the ring is full.
    private var oldest = 0
    /// The number of the newest; 0: there was none yet.
    public private(set) var last: UInt64 = 0

    public init(capacity: Int = Self.capacity) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    /// The event, with its number.
    @discardableResult
    public mutating func append(_ event: DirectorEvent) -> DirectorEvent {
        last += 1
        var event = event
        event.sequence = last
        if events.count < capacity {
            events.append(event)
        } else {
            events[oldest] = event
            oldest = (oldest + 1) % capacity
        }
        return event
    }

    /// Those behind `sequence`, oldest first.
    public func read(after sequence: UInt64, filter: Filter = Filter()) -> Batch {
        // A number that is yet to come: of another daemon's life.
        let sequence = sequence > last ? 0 : sequence
        let unread = last - sequence
        let kept = min(unread, UInt64(events.count))
        let first = events.count - Int(kept)
        let found = (first..<events.count).lazy.map { events[(oldest + $0) % events.count] }.filter(filter.admits)
        return Batch(events: Array(found), missed: unread - kept, last: last)
    }

    /// The number behind which the last `count` are that the filter admits.
    public func start(ofLast count: Int, filter: Filter = Filter()) -> UInt64 {
        let kept = read(after: last - UInt64(events.count), filter: filter).events
        guard count > 0 else { return last }
        return kept.suffix(count).first.map { $0.sequence - 1 } ?? last
    }
}
