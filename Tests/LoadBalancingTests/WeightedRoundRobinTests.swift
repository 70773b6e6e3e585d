import TestSupport
import Testing

@testable import LoadBalancing

/// The wrr ring against literal orders and against a step-by-step model of the kernel.
struct WeightedRoundRobinTests {
    @Test(
        "the ring has the kernel's order",
        arguments: [
            ([4, 3, 2], "AABABCABC"),
            ([1, 1, 1], "ABC"),
            ([3, 1], "AAAB"),
            ([1, 3], "BBAB"),
            ([2, 0, 1], "AAC"),
            ([6, 3], "AAB"),
            ([10, 20, 30], "CBCABC"),
            ([0, 5], "B"),
            ([0, 0], ""),
            ([], ""),
            ([-3, 2], "B"),
            ([65535, 65535], "AB"),
        ])
    func literalOrder(weights: [Int], expected: String) {
        let letters = ["A", "B", "C"]
        #expect(WeightedRoundRobin.ring(weights: weights).map { letters[$0] }.joined() == expected)
    }

    @Test("the ring is one period of the kernel's order")
    func ringIsThePeriodOfTheKernelsOrder() {
        var random = SplitMix(seed: 1)
        for round in 0..<2000 {
            let largest = [3, 10, 100][round % 3]
            let factor = Int.random(in: 1...4, using: &random)
            let weights = (0..<Int.random(in: 1...12, using: &random)).map { _ in
                Int.random(in: 0...largest, using: &random) * factor
            }
            let ring = WeightedRoundRobin.ring(weights: weights)
            var kernel = NaiveWeightedRoundRobin(weights: weights)
            guard !ring.isEmpty else {
                #expect(kernel.next() == nil)
                continue
            }
            let walked = (0..<(3 * ring.count)).map { _ in kernel.next() }
            #expect(walked == ring + ring + ring, "weights \(weights)")
        }
    }

    /// The packet program skips overloaded servers in the ring.
    @Test("an overloaded server loses its turn as in the kernel")
    func overloadedServersLoseTheirTurnsAsInTheKernel() {
        var random = SplitMix(seed: 5)
        for _ in 0..<300 {
            let weights = (0..<Int.random(in: 2...8, using: &random)).map { _ in Int.random(in: 0...9, using: &random) }
            let ring = WeightedRoundRobin.ring(weights: weights)
            var kernel = NaiveWeightedRoundRobin(weights: weights)
            var turn = 0
            for _ in 0..<20 {
                let overloaded = Set(weights.indices.filter { _ in Int.random(in: 0..<3, using: &random) == 0 })
                guard ring.contains(where: { !overloaded.contains($0) }) else { continue }
                for _ in 0..<Int.random(in: 1...10, using: &random) {
                    while overloaded.contains(ring[turn % ring.count]) { turn += 1 }
                    #expect(kernel.next(overloaded: overloaded) == ring[turn % ring.count], "\(weights) \(overloaded)")
                    turn += 1
                }
            }
        }
    }

    @Test("the ring of rr has every server with a weight once")
    func evenRingLeavesOutOnlyWeightZero() {
        #expect(WeightedRoundRobin.evenRing(weights: [7, 0, 2, 65535]) == [0, 2, 3])
        #expect(WeightedRoundRobin.evenRing(weights: [0]) == [])
    }

    @Test("a scaled ring keeps to its documented bound")
    func scaledRingKeepsToItsErrorBound() {
        var random = SplitMix(seed: 2)
        for round in 0..<300 {
            let limit = [64, 500, 4096][round % 3]
            let weights = (0..<Int.random(in: 1...60, using: &random)).map { _ in
                Int.random(in: 0...(Bool.random(using: &random) ? 65535 : 40), using: &random)
            }
            let sum = weights.reduce(0, +)
            guard sum > limit else { continue }
            let slots = WeightedRoundRobin.scale(weights, to: limit)
            #expect(slots.reduce(0, +) == limit)
            // In ascending order of weight, a server is raised to one slot if its part of the remaining slots is below
            // one.
            var (lifted, sharing) = (0, sum)
            for weight in weights.sorted() where weight > 0 && weight * (limit - lifted) < sharing {
                lifted += 1
                sharing -= weight
            }
            for (weight, count) in zip(weights, slots) {
                #expect((weight == 0) == (count == 0))
                let exact = Double(weight * limit) / Double(sum)
                let bound = 1 + Double(lifted * weight) / Double(sharing)
                #expect(abs(Double(count) - exact) < bound + 1e-9, "\(weights) to \(limit)")
            }
        }
    }

    @Test("a scaled ring has the same order")
    func scaledRingInterleavesInTheSameOrder() {
        let ring = WeightedRoundRobin.ring(weights: [40_001, 30_000, 20_000, 0], limit: 9)
        #expect(ring == [0, 0, 1, 0, 1, 2, 0, 1, 2])
        #expect(WeightedRoundRobin.ring(weights: [65535, 1], limit: 4096).count { $0 == 1 } == 1)
        #expect(WeightedRoundRobin.ring(weights: [1, 9, 5, 9], limit: 2) == [1, 3])
        #expect(WeightedRoundRobin.evenRing(weights: [Int](repeating: 1, count: 5000)).count == 4096)
    }

    @Test("a ring is never longer than the limit")
    func ringIsNeverLongerThanTheLimit() {
        #expect(WeightedRoundRobin.ring(weights: [4095, 1]).count == 4096)
        #expect(WeightedRoundRobin.ring(weights: [4096, 1]).count == 4096)
        #expect(WeightedRoundRobin.ring(weights: [65535, 65534, 3]).count <= 4096)
    }
}
