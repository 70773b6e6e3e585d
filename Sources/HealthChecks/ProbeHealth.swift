/// The rise and fall of one probe of one real server. The first verdict counts alone; after it `fall` failures in a
/// row take it down and `rise` successes bring it back.
public struct ProbeHealth: Sendable, Equatable {
    public enum Verdict: Sendable, Equatable { case unproven, up, down }

    public private(set) var verdict: Verdict
    /// Why the last probe failed; nil where it did not.
    public private(set) var failure: String?
    /// It has answered at least once: what never did cannot have stopped.
    public private(set) var hasAnswered: Bool
    /// Results since the last success.
    public private(set) var fruitless = 0
    /// What speaks against it is silence alone: nobody has answered since it was up.
    public private(set) var isSilent = false
    private var silences = 0
    /// It has refused since it was up: silence after that is no better.
    private var hasRefused = false
    private var streak = 0

    public init(verdict: Verdict = .unproven, hasAnswered: Bool = false) {
        self.verdict = verdict
        self.hasAnswered = hasAnswered
    }

    /// True where a success would not be news.
    public var isSteadilyUp: Bool { verdict == .up && failure == nil }

    /// A verdict may be near: it has begun to fall, or to rise.
    public var isInTransition: Bool {
        switch verdict {
        case .unproven: false
        case .up: failure != nil
        case .down: failure == nil
        }
    }

    /// Takes a result in; true if the verdict changed.
    @discardableResult
    public mutating func record(_ result: ProbeResult, rise: Int, fall: Int) -> Bool {
        let before = verdict
        switch result {
        case .success:
            streak = failure == nil ? streak + 1 : 1
            failure = nil
            hasAnswered = true
            fruitless = 0
            silences = 0
            if verdict == .unproven || (verdict == .down && streak >= rise) { verdict = .up }
            if verdict == .up {
                isSilent = false
                hasRefused = false
            }
        case .failure(let reason), .silence(let reason):
            if case .silence = result {
                silences += 1
                if !hasRefused, silences >= fall || (failure == nil && verdict != .down) { isSilent = true }
            } else {
                silences = 0
                isSilent = false
                hasRefused = true
            }
            streak = failure == nil ? 1 : streak + 1
            failure = reason
            fruitless += 1
            if verdict == .unproven || (verdict == .up && streak >= fall) { verdict = .down }
        }
        return verdict != before
    }
}
