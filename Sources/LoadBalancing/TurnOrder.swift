/// The order of turns that are shared in proportion to weights.
///
/// A member of weight w takes its k-th turn (from 0) at the time k / w. At equal times the lower rank goes first. The
/// turns of any two members therefore interleave in the same way, whatever other members there are. A change of the
/// members leaves the order of the others as it is, and equal weights give plain rounds. Members of equal weight take
/// all their turns together. The binary heap therefore holds the next turn of each weight, not of each member.
struct TurnOrder {
    /// The members of one weight. `members` is their range in `ranks`, and each of them has taken `taken` turns.
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
    /// The ranks, sorted by weight and then by rank.
    private let ranks: [Int]

    /// Creates the order for these weights, whose indices are the ranks. There is at least one weight, and all weights
    /// are positive.
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

    /// Returns the ranks of all members whose turns come next at the same time, in their order.
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

    /// Moves the first class to its next turn.
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
