internal import Glibc

/// How unsteady a real server has been, as RFC 2439 (section 4.4) has it for routes: each fall adds a penalty, which
/// decays by half in a half-life. Above the cutoff the server is held out, good or not, until the penalty has decayed
/// to where it may be used again; it is bounded, and so is that time.
///
/// Coded, it is of use until the machine starts anew: its time is that since the last start.
public struct FlapDamping: Hashable, Sendable, Codable {
    public typealias Instant = ContinuousClock.Instant

    /// In penalties of one fall: the third in quick succession goes above the cutoff. RFC 2439's own proportions, as
    /// routers have them.
    static let cutoff = 2.0
    static let reuse = 0.75
    /// No server is held for longer than so many half-lives after its last fall.
    public static let longestHold = 4.0
    static let ceiling = reuse * exp2(longestHold)

    private var penalty = 0.0
    private var since: Instant?
    private var isSuppressed = false

    public init() {}

    public mutating func fall(at now: Instant, halfLife: Duration) {
        penalty = min(decayed(at: now, halfLife: halfLife) + 1, Self.ceiling)
        since = now
        if penalty > Self.cutoff { isSuppressed = true }
    }

    /// The end of the time for which the server is held out; nil where it is not.
    public func heldUntil(at now: Instant, halfLife: Duration) -> Instant? {
        guard isSuppressed, let since else { return nil }
        let end = since + halfLife * log2(penalty / Self.reuse)
        return now < end ? end : nil
    }

    /// It may be used again: what it did no longer holds it, though some of it still counts at its next fall.
    public mutating func release() { isSuppressed = false }

    /// The server has not fallen yet.
    public var isClean: Bool { since == nil }

    /// Read back at this time, whatever was written there.
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
