/// The model for the ring: the kernel's wrr scheduler, one packet at a time, with the state of `struct ip_vs_wrr_mark`.
struct NaiveWeightedRoundRobin {
    let weights: [Int]
    /// The index of the last server, or -1 for the head of the list.
    private var current = -1
    private var currentWeight: Int
    private let maximum: Int
    private let step: Int

    init(weights: [Int]) {
        self.weights = weights
        var step = 0
        for weight in weights where weight > 0 {
            step = step == 0 ? weight : (1...step).last { step % $0 == 0 && weight % $0 == 0 } ?? 1
        }
        self.step = max(step, 1)
        maximum = (weights.max() ?? 0) - (self.step - 1)
        currentWeight = maximum
    }

    /// Returns the server of the next packet. At least one server with a positive weight must not be overloaded.
    mutating func next(overloaded: Set<Int> = []) -> Int? {
        guard maximum > 0 else { return nil }
        while true {
            while current + 1 < weights.count {
                current += 1
                if weights[current] >= currentWeight, !overloaded.contains(current) { return current }
            }
            current = -1
            currentWeight -= step
            if currentWeight <= 0 { currentWeight = maximum }
        }
    }
}
