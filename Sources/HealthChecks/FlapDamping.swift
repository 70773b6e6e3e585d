internal import Glibc

/// The flap damping of a real server, after RFC 2439 (section 4.4), which defines it for routes. Each fall adds a
/// penalty, which decays by half in a half-life. Above the cutoff the server is held out, healthy or not, until the
/// penalty has decayed to the reuse limit. The penalty is bounded, and so is the time of the hold.
///
/// The coded form is valid until the machine restarts, since its times count from the last boot.
public struct FlapDamping: Hashable, Sendable, Codable {
    public typealias Instant = ContinuousClock.Instant

    /// The penalty above which a server is held out. One fall adds 1, so the third fall in quick succession exceeds it.
    /// A fall, the cutoff and the reuse limit have the proportions that routers commonly use: 1000, 2000 and 750.
    static let cutoff = 2.0
    /// The penalty at which a server that was held out may serve again.
    static let reuse = 0.75
    /// The longest hold after the last fall, in half-lives.
    public static let longestHold = 4.0
    /// The largest penalty, which decays to the reuse limit in the longest hold.
    static let ceiling = reuse * exp2(longestHold)

    private var penalty = 0.0
    /// The time of the last fall, at which `penalty` had its value. Nil: the server has not fallen yet.
    private var since: Instant?
    private var isSuppressed = false

    public init() {}

    public mutating func fall(at now: Instant, halfLife: Duration) {
        penalty = min(decayed(at: now, halfLife: halfLife) + 1, Self.ceiling)
        since = now
        if penalty > Self.cutoff { isSuppressed = true }
    }

    /// Returns the end of the hold, or nil if the server is not held out.
    public func heldUntil(at now: Instant, halfLife: Duration) -> Instant? {
        guard isSuppressed, let since else { return nil }
        let end = since + halfLife * log2(penalty / Self.reuse)
        return now < end ? end : nil
    }

    /// Ends the hold. The penalty that is left still counts at the next fall.
    public mutating func release() { isSuppressed = false }

    /// Whether the server has not fallen yet.
    public var isClean: Bool { since == nil }

    /// Returns the state as read from a file, with all values limited to possible values.
    func restored(at now: Instant) -> FlapDamping {
        var own = self
        own.penalty = min(max(penalty, 0), Self.ceiling)
        own.since = since.map { min($0, now) }
        return own
    }

    private func decayed(at now: Instant, halfLife: Duration) -> Double {
        since.map { penalty * exp2(-((now - $0) / halfLife)) } ?? 0
    }
}
