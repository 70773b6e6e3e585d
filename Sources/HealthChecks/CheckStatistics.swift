/// The counts and latencies of one check of a service's real servers.
public struct CheckStatistics: Sendable, Hashable {
    /// The upper bounds of the latency buckets, in seconds. After these buckets comes a bucket without an upper bound.
    public static let bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    public private(set) var succeeded: UInt64 = 0
    public private(set) var failed: UInt64 = 0
    /// The number of checks in each latency bucket. A bucket begins above the bound before it, and ends with its own
    /// bound. The last bucket has no bound.
    public private(set) var counts = [UInt64](repeating: 0, count: Self.bounds.count + 1)
    /// The sum of all latencies, in seconds.
    public private(set) var seconds: Double = 0

    public init() {}

    public var count: UInt64 { succeeded + failed }

    public func joined(with other: CheckStatistics) -> CheckStatistics {
        var sum = self
        sum.succeeded += other.succeeded
        sum.failed += other.failed
        sum.counts = zip(counts, other.counts).map(+)
        sum.seconds += other.seconds
        return sum
    }

    /// Adds the result of one check. A failed check counts with the time until its failure, so that time-outs show in
    /// the buckets.
    public mutating func record(isSuccess: Bool, latency: Duration) {
        let taken = latency / .seconds(1)
        counts[Self.bounds.firstIndex { taken <= $0 } ?? Self.bounds.count] += 1
        seconds += taken
        if isSuccess { succeeded += 1 } else { failed += 1 }
    }
}
