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
