public import Addresses
public import LoadBalancing

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
