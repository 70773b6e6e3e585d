/// The search for the largest packet that passes, without sockets and timers. Sizes are in bytes, IP header included.
struct PathMTUSearch: Hashable {
    enum Action: Hashable {
        case send(Int)
        case end(Result)
    }

    enum Result: Hashable {
        /// The size of the largest packet that passes. `isReported` is true if larger packets are reported as too big.
        /// It is false if larger packets vanish, or none had to be tried.
        case passes(Int, isReported: Bool)
        /// No packet of any size is answered. `limit` is the last MTU that a router reported, or nil.
        case unreachable(limit: Int?)
    }

    /// The number of attempts for each size.
    static let tries = 3

    private let full: Int
    /// The largest size that is known to pass, or 0.
    private var lower = 0
    /// The smallest size that is known not to pass, or `full` + 1.
    private var upper: Int
    /// Whether packets of `upper` bytes were reported as too big.
    private var isUpperReported = false
    /// The last MTU that a router reported.
    private var limit: Int?
    private var size: Int
    private var silences = 0

    init(full: Int) {
        self.full = full
        upper = full + 1
        size = full
    }

    var first: Action { .send(full) }

    mutating func answered() -> Action {
        lower = size
        return next()
    }

    mutating func silent() -> Action {
        silences += 1
        guard silences >= Self.tries else { return .send(size) }
        upper = size
        isUpperReported = false
        return next()
    }

    /// Handles a report that the current size is too big. `limit` is the reported MTU, or nil if the report has none.
    mutating func tooBig(limit: Int?) -> Action {
        upper = size
        isUpperReported = true
        if let limit, limit < size, limit > lower, limit >= MTUCheck.least {
            upper = limit + 1
            self.limit = limit
            return attempt(limit)
        }
        return next()
    }

    private mutating func next() -> Action {
        if lower == 0 { return upper <= MTUCheck.least ? .end(.unreachable(limit: limit)) : attempt(MTUCheck.least) }
        guard upper - lower > 1 else { return .end(.passes(lower, isReported: isUpperReported)) }
        return attempt((lower + upper) / 2)
    }

    private mutating func attempt(_ size: Int) -> Action {
        self.size = size
        silences = 0
        return .send(size)
    }
}
