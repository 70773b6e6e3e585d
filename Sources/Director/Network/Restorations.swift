internal import DataPlane
internal import HostState

/// What is logged of resources that were missing: of one that somebody takes away again and again, not each time.
struct Restorations {
    enum Word: Hashable {
        case restored
        /// It went again, so soon after it was put back. Said once, until it has been left alone for a while.
        case contested(after: Duration)
    }

    /// Left alone for so long, a resource that is missing is news again.
    static let quiet = Duration.seconds(600)

    private struct Past {
        var last: ContinuousClock.Instant
        var isContested: Bool
    }

    private var pasts: [ManagedResource: Past] = [:]
    /// Why a resource could not be put back.
    private var failures = RepeatedErrors<ManagedResource>()

    /// The resource is there again. Nil: nothing is to be said.
    mutating func restored(_ resource: ManagedResource, at now: ContinuousClock.Instant) -> Word? {
        _ = failures.settle(resource)
        // Those that are of no more interest: a machine's interfaces come and go.
        pasts = pasts.filter { $0.value.last.duration(to: now) < Self.quiet }
        guard let past = pasts.updateValue(Past(last: now, isContested: true), forKey: resource) else {
            pasts[resource]?.isContested = false
            return .restored
        }
        return past.isContested ? nil : .contested(after: past.last.duration(to: now))
    }

    /// True where it is to be said: the first time, where the reason is another one, and after a while again.
    mutating func failed(_ resource: ManagedResource, _ reason: String, at now: ContinuousClock.Instant) -> Bool {
        failures.isNews(resource, reason, at: now)
    }
}
