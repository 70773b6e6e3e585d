/// What is said of pieces that were missing: of one that somebody takes away again and again, not each time.
struct Restorations {
    enum Word: Hashable {
        case restored
        /// It went again, so soon after it was put back. Said once, until it has been left alone for a while.
        case contested(after: Duration)
    }

    /// Left alone for so long, a piece that is missing is news again.
    static let quiet = Duration.seconds(600)

    private struct Past {
        var last: ContinuousClock.Instant
        var isContested: Bool
    }

    private var pasts: [Piece: Past] = [:]
    /// Why a piece could not be put back.
    private var failures = RepeatedErrors<Piece>()

    /// The piece is there again. Nil: nothing is to be said.
    mutating func restored(_ piece: Piece, at now: ContinuousClock.Instant) -> Word? {
        _ = failures.settle(piece)
        // Those that are of no more interest: a machine's interfaces come and go.
        pasts = pasts.filter { $0.value.last.duration(to: now) < Self.quiet }
        guard let past = pasts.updateValue(Past(last: now, isContested: true), forKey: piece) else {
            pasts[piece]?.isContested = false
            return .restored
        }
        return past.isContested ? nil : .contested(after: past.last.duration(to: now))
    }

    /// True where it is to be said: the first time, where the reason is another one, and after a while again.
    mutating func failed(_ piece: Piece, _ reason: String, at now: ContinuousClock.Instant) -> Bool {
        failures.isNews(piece, reason, at: now)
    }
}
