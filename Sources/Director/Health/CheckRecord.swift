internal import HealthChecks
internal import LoadBalancing

/// What is known of the checks themselves, for metrics, status and log: how they went, and which could not be asked.
struct CheckRecord {
    typealias Instant = ContinuousClock.Instant

    /// The log names the same reason once in this time.
    private static let shortagePause = Duration.seconds(60)

    /// Of each service's checks: their results and how long they took.
    private(set) var statistics: [ServiceAddress: [Probe: CheckStatistics]] = [:]
    /// Why this machine could not ask the last time, by the rounds' ids.
    private var notAsked: [Int: String] = [:]
    /// When each of these reasons was logged.
    private var shortagesLogged: [String: Instant] = [:]

    // MARK: Results

    mutating func count(_ probe: Probe, of service: ServiceAddress, isSuccess: Bool, latency: Duration) {
        statistics[service, default: [:]][probe, default: CheckStatistics()]
            .record(isSuccess: isSuccess, latency: latency)
    }

    /// Forgets the results of checks that are no longer asked.
    mutating func keep(_ isAsked: (ServiceAddress, Probe) -> Bool) {
        for (service, results) in statistics {
            let kept = results.filter { isAsked(service, $0.key) }
            statistics[service] = kept.isEmpty ? nil : kept
        }
    }

    // MARK: What could not be asked

    mutating func noteAsked(_ round: Int) { notAsked[round] = nil }

    /// Notes why this machine could not ask. Returns whether the log is to name the shortage.
    mutating func noteNotAsked(_ round: Int, _ reason: String, shortage: String, at now: Instant) -> Bool {
        notAsked[round] = reason
        shortagesLogged = shortagesLogged.filter { $0.value.duration(to: now) < Self.shortagePause }
        guard shortagesLogged[shortage] == nil else { return false }
        shortagesLogged[shortage] = now
        return true
    }

    /// Returns why one of these rounds was not asked the last time: what it says of its server is old.
    func reasonNotAsked(among rounds: [Int]) -> String? { rounds.lazy.compactMap { notAsked[$0] }.first }

    /// Forgets rounds that are no longer asked. Their ids are not used again.
    mutating func forget(_ rounds: Set<Int>) {
        for id in rounds { notAsked[id] = nil }
    }
}
