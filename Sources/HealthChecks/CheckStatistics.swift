/// How one check of a service's real servers went, and how long it took.
public struct CheckStatistics: Sendable, Hashable {
    /// Upper bounds, in seconds; above the last there is no bound.
    public static let bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    public private(set) var succeeded: UInt64 = 0
    public private(set) var failed: UInt64 = 0
    /// By bound, those that took at most so long and longer than the bound before; the last has no bound.
    public private(set) var counts = [UInt64](repeating: 0, count: Self.bounds.count + 1)
    /// Of all of them.
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

    /// A check that failed counts with the time that its failure took: a time-out shows as one.
    public mutating func record(isSuccess: Bool, latency: Duration) {
        let taken = latency / .seconds(1)
        counts[Self.bounds.firstIndex { taken <= $0 } ?? Self.bounds.count] += 1
        seconds += taken
        if isSuccess { succeeded += 1 } else { failed += 1 }
    }
}
