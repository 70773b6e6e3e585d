/// Who takes the next turn when turns are shared out in proportion to weights.
///
/// A member of weight w takes its k-th turn (from 0) at the time k / w; at equal times the lower rank goes first. Any
/// two members' turns thus interleave in one way only, whoever else takes part: membership changes disturb no one's
/// order, and equal weights give plain rounds. Members of equal weight take all their turns together, so that a binary
/// heap holds the next turn of each weight, not of each member.
struct TurnOrder {
    private struct Class {
        var taken: UInt32
        let weight: UInt32
        let members: Range<Int>

        func isBefore(_ other: Class) -> Bool {
            UInt64(taken) * UInt64(other.weight) < UInt64(other.taken) * UInt64(weight)
        }

        func isBeside(_ other: Class) -> Bool {
            UInt64(taken) * UInt64(other.weight) == UInt64(other.taken) * UInt64(weight)
        }
    }

    private var heap: [Class] = []
    /// Ranks, by weight and then by rank.
    private let ranks: [Int]

    /// Weights are positive, at least one, and each index is a rank.
    init(weights: [Int]) {
        ranks = weights.indices.sorted { (weights[$0], $0) < (weights[$1], $1) }
        var start = 0
        for place in ranks.indices where place + 1 == ranks.count || weights[ranks[place]] != weights[ranks[place + 1]]
        {
            // All first turns are at time 0, so that any order forms a heap.
            heap.append(Class(taken: 0, weight: UInt32(weights[ranks[place]]), members: start..<place + 1))
            start = place + 1
        }
    }

    /// The ranks of all members that take a turn at the next time at which somebody does, in their order.
    mutating func next() -> [Int] {
        let time = heap[0]
        var together = Array(ranks[time.members])
        takeFirst()
        guard heap[0].isBeside(time) else { return together }
        while heap[0].isBeside(time) {
            together += ranks[heap[0].members]
            takeFirst()
        }
        together.sort()
        return together
    }

    /// The first class has had its turn.
    private mutating func takeFirst() {
        heap.withUnsafeMutableBufferPointer { heap in
            var first = heap[0]
            first.taken += 1
            var place = 0
            while true {
                var child = 2 * place + 1
                guard child < heap.count else { break }
                if child + 1 < heap.count, heap[child + 1].isBefore(heap[child]) { child += 1 }
                guard heap[child].isBefore(first) else { break }
                heap[place] = heap[child]
                place = child
            }
            heap[place] = first
        }
    }
}
