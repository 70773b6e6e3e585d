internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// Repairs of what the director put into the machine: which of them are news, and which failed checks they excuse. It has no
/// clock: the caller says what time it is.
struct ManagedResources {
    typealias Instant = ContinuousClock.Instant

    /// The shortest pause between two looks at the check path.
    private static let shortestPause = Duration.milliseconds(20)
    /// Answers wait for their turn on the director for so long at most.
    private static let delayOfAnswers = Duration.milliseconds(500)

    private var restorations = Restorations()
    /// When something of the check path was missing last.
    private var pathWasBroken: Instant?
    /// The check path is not looked at before then, whatever fails.
    private var looksNext: Instant

    init(at now: Instant) { looksNext = now }

    // MARK: Repairs

    /// Takes the repairs of a data plane, all of which every service needs.
    mutating func note(
        _ repairs: Repairs, of services: [ConfiguredService], at now: Instant
    ) -> NetworkFindings {
        if repairs.disturbedChecks { pathWasBroken = now }
        return note(repairs, of: services, at: now) { _ in Set(repairs.restored) }
    }

    /// Takes the repairs of VIPs as addresses. A service needs those of its own listeners.
    mutating func note(
        _ repairs: VIPAddresses.Repairs, of services: [ConfiguredService], at now: Instant
    ) -> NetworkFindings {
        var all = Repairs()
        all.failed = repairs.failed
        all.restored = repairs.restored.map(\.resource)
        return note(all, of: services, at: now) { service in
            let vips = Set(service.listeners.map(\.vip))
            return Set(repairs.restored.filter { vips.contains($0.vip) }.map(\.resource))
        }
    }

    /// `needed`: the resources that a service needs.
    private mutating func note(
        _ repairs: Repairs, of services: [ConfiguredService], at now: Instant,
        needed: (ConfiguredService) -> Set<ManagedResource>
    ) -> NetworkFindings {
        var findings = NetworkFindings()
        for (resource, error) in repairs.failed where restorations.failed(resource, "\(error)", at: now) {
            findings.log(.error, "restore \(resource): \(error)")
        }
        var news: [(resource: ManagedResource, text: String)] = []
        for resource in repairs.restored {
            switch restorations.restored(resource, at: now) {
            case nil: continue
            case .restored?: news.append((resource, "\(resource)"))
            case .contested(let time)?:
                let end = "something else keeps it from staying; it is put back each time, without another word"
                news.append((resource, "\(resource) again, \(Director.rounded(time)) after the last time: \(end)"))
            }
        }
        if news.isEmpty { return findings }
        for (_, text) in news { findings.log(.warning, "restored \(text)") }
        for service in services {
            let needed = needed(service)
            let told = news.filter { needed.contains($0.resource) }
            if told.isEmpty { continue }
            findings.restored.append((service.address, told.map(\.text).joined(separator: ", ")))
        }
        return findings
    }

    // MARK: The check path

    /// Whether the check path may be looked at now.
    func mayLook(at now: Instant) -> Bool { now >= looksNext }

    /// Notes a look at the check path. Many checks may fail at a time: the next look comes later after a long one.
    mutating func noteLook(from began: Instant, to ended: Instant) {
        looksNext = ended + max(Self.shortestPause, began.duration(to: ended) * 4)
    }

    /// Whether a failure that is known now says nothing about the real server: something of the check path was missing while
    /// it was asked, for `timeout` at most.
    func excuseFailure(after timeout: Duration, at now: Instant) -> Bool {
        pathWasBroken.map { $0.duration(to: now) < timeout + Self.delayOfAnswers } ?? false
    }
}

/// What is logged of resources that were missing: of one that somebody takes away again and again, not each time.
struct Restorations {
    enum News: Hashable {
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
    mutating func restored(_ resource: ManagedResource, at now: ContinuousClock.Instant) -> News? {
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
