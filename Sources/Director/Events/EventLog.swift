public import Addresses
public import LoadBalancing
internal import Synchronization

/// The director's last events and their followers. A follower reads at its own pace, and does not delay events.
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

    /// The number of events of each kind since the daemon's start.
    var counts: [DirectorEvent.Kind: UInt64] { state.withLock(\.counts) }

    public func read(after sequence: UInt64, filter: EventRing.Filter = .init()) -> EventRing.Batch {
        state.withLock { $0.ring.read(after: sequence, filter: filter) }
    }

    public func start(ofLast count: Int, filter: EventRing.Filter = .init()) -> UInt64 {
        state.withLock { $0.ring.start(ofLast: count, filter: filter) }
    }

    /// Returns a stream with an element for one or more events after the call. Earlier events have no element.
    public func news() -> AsyncStream<Void> {
        // One buffered element stands for all events that a follower has not read.
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

/// The last events, each with its number. A batch also counts the events that its reader has missed.
public struct EventRing: Sendable {
    /// The events that a reader wants.
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

    /// The result of one read.
    public struct Batch: Sendable, Hashable {
        public var events: [DirectorEvent]
        /// The number of unread events that are no longer kept, also of services that the filter leaves out.
        public var missed: UInt64
        /// The number of the event after which the next read continues.
        public var last: UInt64
    }

    public static let capacity = 1000

    private let capacity: Int
    private var events: [DirectorEvent] = []
    /// The index of the oldest event, once the ring is full.
    private var oldest = 0
    /// The number of the newest event, or 0 before the first one.
    public private(set) var last: UInt64 = 0

    public init(capacity: Int = Self.capacity) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    /// Numbers and adds an event. Returns it with its number.
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

    /// Returns the events after `sequence` that the filter admits, the oldest first.
    public func read(after sequence: UInt64, filter: Filter = Filter()) -> Batch {
        // A number above the last event's is from an earlier daemon, so all events are unread.
        let sequence = sequence > last ? 0 : sequence
        let unread = last - sequence
        let kept = min(unread, UInt64(events.count))
        let first = events.count - Int(kept)
        let found = (first..<events.count).lazy.map { events[(oldest + $0) % events.count] }.filter(filter.admits)
        return Batch(events: Array(found), missed: unread - kept, last: last)
    }

    /// Returns the event number after which a read returns the last `count` events that the filter admits.
    public func start(ofLast count: Int, filter: Filter = Filter()) -> UInt64 {
        let kept = read(after: last - UInt64(events.count), filter: filter).events
        guard count > 0 else { return last }
        return kept.suffix(count).first.map { $0.sequence - 1 } ?? last
    }
}
