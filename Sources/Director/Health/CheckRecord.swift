internal import HealthChecks
internal import LoadBalancing

/// The results and latencies of checks for metrics, and the rounds that this machine could not check.
struct CheckRecord {
    typealias Instant = ContinuousClock.Instant

    /// The least time between two log lines with the same shortage.
    private static let shortagePause = Duration.seconds(60)

    /// The results and latencies of each service's checks.
    private(set) var statistics: [ServiceAddress: [Probe: CheckStatistics]] = [:]
    /// The reasons why this machine could not check the last time, by the rounds' ids.
    private var notAsked: [Int: String] = [:]
    /// The time at which each shortage was logged last, by its text.
    private var shortagesLogged: [String: Instant] = [:]

    // MARK: Results

    mutating func count(_ probe: Probe, of service: ServiceAddress, isSuccess: Bool, latency: Duration) {
        statistics[service, default: [:]][probe, default: CheckStatistics()]
            .record(isSuccess: isSuccess, latency: latency)
    }

    /// Forgets the results of removed checks.
    mutating func keep(_ isAsked: (ServiceAddress, Probe) -> Bool) {
        for (service, results) in statistics {
            let kept = results.filter { isAsked(service, $0.key) }
            statistics[service] = kept.isEmpty ? nil : kept
        }
    }

    // MARK: Rounds without a result

    mutating func noteAsked(_ round: Int) { notAsked[round] = nil }

    /// Notes the reason why this machine could not check. Returns whether to log the shortage.
    mutating func noteNotAsked(_ round: Int, _ reason: String, shortage: String, at now: Instant) -> Bool {
        notAsked[round] = reason
        shortagesLogged = shortagesLogged.filter { $0.value.duration(to: now) < Self.shortagePause }
        guard shortagesLogged[shortage] == nil else { return false }
        shortagesLogged[shortage] = now
        return true
    }

    /// Returns the reason why one of these rounds has no recent result, or nil where each has a recent result.
    func reasonNotAsked(among rounds: [Int]) -> String? { rounds.lazy.compactMap { notAsked[$0] }.first }

    /// Forgets removed rounds. Their ids are not used again.
    mutating func forget(_ rounds: Set<Int>) {
        for id in rounds { notAsked[id] = nil }
    }
}
