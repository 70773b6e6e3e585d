internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// The repairs of the director's own changes of the machine: their log lines and events, and the failed checks that
/// they excuse. The type has no clock: the caller passes the time.
struct ManagedResources {
    typealias Instant = ContinuousClock.Instant

    /// The least time between two looks at the check path.
    private static let shortestPause = Duration.milliseconds(20)
    /// The longest time from an answer's arrival to its turn on the director.
    private static let delayOfAnswers = Duration.milliseconds(500)

    private var restorations = Restorations()
    /// The last time at which a part of the check path was missing.
    private var pathWasBroken: Instant?
    /// The earliest time of the next look at the check path.
    private var looksNext: Instant

    init(at now: Instant) { looksNext = now }

    // MARK: Repairs

    /// Notes the repairs of a data plane. Every service needs all the restored resources.
    mutating func note(
        _ repairs: Repairs, of services: [ConfiguredService], at now: Instant
    ) -> NetworkFindings {
        if repairs.disturbedChecks { pathWasBroken = now }
        return note(repairs, of: services, at: now) { _ in Set(repairs.restored) }
    }

    /// Notes the repairs of VIPs as addresses. A service needs the VIPs of its own listeners.
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

    /// Notes repairs. `needed` returns the resources that a service needs.
    private mutating func note(
        _ repairs: Repairs, of services: [ConfiguredService], at now: Instant,
        needed: (ConfiguredService) -> Set<ManagedResource>
    ) -> NetworkFindings {
        var findings = NetworkFindings()
        for (resource, error) in repairs.failed where restorations.failed(resource, "\(error)", at: now) {
            findings.log(
                .error, "restore \(resource): \(error)", ["resource": "\(resource)", "error": "\(error)"])
        }
        var news: [(resource: ManagedResource, text: String)] = []
        for resource in repairs.restored {
            switch restorations.restored(resource, at: now) {
            case nil: continue
            case .restored?: news.append((resource, "\(resource)"))
            case .contested(let time)?:
                let end = "something else keeps it from staying; it is put back each time, without another line"
                news.append((resource, "\(resource) again, \(Director.rounded(time)) after the last time: \(end)"))
            }
        }
        if news.isEmpty { return findings }
        for (resource, text) in news {
            findings.log(
                .warning, "restored \(text)",
                ["event": "\(DirectorEvent.Kind.restored.rawValue)", "resource": "\(resource)"])
        }
        for service in services {
            let needed = needed(service)
            let ofService = news.filter { needed.contains($0.resource) }
            if ofService.isEmpty { continue }
            findings.restored.append((service.address, ofService.map(\.text).joined(separator: ", ")))
        }
        return findings
    }

    // MARK: The check path

    /// Returns whether the director may look at the check path now.
    func mayLook(at now: Instant) -> Bool { now >= looksNext }

    /// Notes a look at the check path. After a long look, the next one is put off, as many checks may fail at the same
    /// time.
    mutating func noteLook(from began: Instant, to ended: Instant) {
        looksNext = ended + max(Self.shortestPause, began.duration(to: ended) * 4)
    }

    /// Returns whether a failure that arrives now proves nothing about the real server, as a part of the check path was
    /// missing during the question. The question lasted at most for `timeout`.
    func excuseFailure(after timeout: Duration, at now: Instant) -> Bool {
        pathWasBroken.map { $0.duration(to: now) < timeout + Self.delayOfAnswers } ?? false
    }
}

/// The decisions on log lines about restored resources. A resource that is removed again and again is not logged each
/// time.
struct Restorations {
    enum News: Hashable {
        case restored
        /// The resource was missing again soon after its repair. This is logged once, until the resource has lasted for
        /// `quiet`.
        case contested(after: Duration)
    }

    /// The time without a repair of a resource after which its next repair is logged again.
    static let quiet = Duration.seconds(600)

    private struct Past {
        var last: ContinuousClock.Instant
        var isContested: Bool
    }

    private var pasts: [ManagedResource: Past] = [:]
    /// The errors of failed repairs.
    private var failures = RepeatedErrors<ManagedResource>()

    /// Notes a restored resource. Returns the news to log, or nil.
    mutating func restored(_ resource: ManagedResource, at now: ContinuousClock.Instant) -> News? {
        _ = failures.settle(resource)
        // Old entries are removed, as a machine's interfaces come and go.
        pasts = pasts.filter { $0.value.last.duration(to: now) < Self.quiet }
        guard let past = pasts.updateValue(Past(last: now, isContested: true), forKey: resource) else {
            pasts[resource]?.isContested = false
            return .restored
        }
        return past.isContested ? nil : .contested(after: past.last.duration(to: now))
    }

    /// Notes a failed repair. Returns whether to log it: the first time, with another reason, and again after
    /// `RepeatedErrors.quiet`.
    mutating func failed(_ resource: ManagedResource, _ reason: String, at now: ContinuousClock.Instant) -> Bool {
        failures.isNews(resource, reason, at: now)
    }
}
