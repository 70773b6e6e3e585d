/// Who takes the next turn when turns are shared out in proportion to weights.
///
/// A member of weight w takes its k-th turn (from 0) at the time k / w; at equal times the lower rank goes first. Any
/// two members' turns thus interleave in one way only, whoever else takes part: membership changes disturb no one's
/// order, and equal weights give plain rounds. A binary heap holds each member's next turn.
struct TurnOrder {
    private struct Member {
        var taken: Int
        let weight: Int
        let rank: Int

        func precedes(_ other: Member) -> Bool {
            let mine = taken * other.weight
            let others = other.taken * weight
            return mine != others ? mine < others : rank < other.rank
        }
    }

    private var heap: [Member]

    /// Weights are positive, their index is the rank.
    init(weights: [Int]) {
        // All first turns are at time 0, so that ascending ranks already form a heap.
        heap = weights.enumerated().map { Member(taken: 0, weight: $1, rank: $0) }
    }

    /// The rank of the member whose turn it is.
    mutating func next() -> Int {
        var member = heap[0]
        let rank = member.rank
        member.taken += 1
        heap.withUnsafeMutableBufferPointer { heap in
            var place = 0
            while true {
                var child = 2 * place + 1
                guard child < heap.count else { break }
                if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
                guard heap[child].precedes(member) else { break }
                heap[place] = heap[child]
                place = child
            }
            heap[place] = member
        }
        return rank
    }
}
