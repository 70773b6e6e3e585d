internal import Glibc
internal import PacketPrograms

/// Allocates the rows of a fixed table. A freed row rests until no packet can still read it.
struct RowAllocator {
    /// The time for which a freed row rests. A packet program runs for microseconds only.
    static let grace: Duration = .milliseconds(100)

    /// Waits until all packets from before the call have left the packet program.
    static func waitForGrace() { usleep(UInt32(grace / .microseconds(1))) }

    private var used: Set<Int> = []
    private var resting: [(row: Int, since: ContinuousClock.Instant)] = []
    private var free: [Int]

    /// Makes an allocator of rows 1 to `count` - 1. Row 0 stands for "not set".
    init(count: Int, used: Set<Int> = []) {
        self.used = used
        self.free = (1..<count).reversed().filter { !used.contains($0) }
    }

    var usedCount: Int { used.count }

    /// Returns the number of rows that are in use or still rest.
    func heldCount(now: ContinuousClock.Instant = .now) -> Int {
        used.count + resting.count { now - $0.since < Self.grace }
    }

    /// Returns a free row; nil where the table is full.
    mutating func allocate(now: ContinuousClock.Instant = .now) -> Int? {
        while let first = resting.first, now - first.since >= Self.grace {
            free.append(resting.removeFirst().row)
        }
        guard let row = free.popLast() else { return nil }
        used.insert(row)
        return row
    }

    mutating func release(_ row: Int, now: ContinuousClock.Instant = .now) {
        guard used.remove(row) != nil else { return }
        resting.append((row, now))
    }
}

/// Allocates slices of the slots, in whole groups of four, by first fit. A freed slice rests like a freed row.
struct SliceAllocator {
    struct Slice: Hashable {
        /// The first slot, a multiple of four.
        var first: Int
        var size: Int

        var end: Int { first + (size + 3) / 4 * 4 }

        init(first: Int, size: Int) {
            self.first = first
            self.size = size
        }

        /// The slice that a word of a service's row names.
        init(word: UInt64) { self.init(first: Int(ipvsd_slice_first(word)), size: Int(ipvsd_slice_size(word))) }
    }

    private var capacity: Int
    /// The used and the resting slices, in ascending order.
    private var occupied: [Slice]
    private var resting: [(slice: Slice, since: ContinuousClock.Instant)] = []
    /// The first slot that may be free. A search begins there, since a start allocates thousands of slices.
    private var firstGap = 4
    /// The number of occupied slices before `firstGap`.
    private var slicesBelowGap = 0

    /// Makes an allocator for `capacity` slots. The first group stays unused, since a slice from slot 0 on with size 0
    /// stands for the empty slice.
    init(capacity: Int, used: [Slice] = []) {
        self.capacity = capacity
        self.occupied = used.filter { $0.size > 0 }.sorted { $0.first < $1.first }
    }

    init(groups: Int, used: [Slice] = []) {
        self.init(capacity: groups * Int(IPVSD_SLOT_GROUP), used: used)
    }

    /// Whether slices of these sizes fit, in this order, beside the occupied ones into a table of `groups` groups.
    func hasRoom(for sizes: [Int], groups: Int, now: ContinuousClock.Instant = .now) -> Bool {
        let capacity = groups * Int(IPVSD_SLOT_GROUP)
        let end = sizes.reduce(occupied.last?.end ?? firstGap) { Slice(first: $0, size: $1).end }
        if end <= capacity { return true }
        var trial = self
        trial.capacity = capacity
        return sizes.allSatisfy { trial.allocate(size: $0, now: now) != nil }
    }

    /// The number of used slots, counted in whole groups.
    var usedCount: Int { occupied.reduce(0) { $0 + $1.end - $1.first } }

    /// Returns a free slice; nil where no gap is long enough.
    mutating func allocate(size: Int, now: ContinuousClock.Instant = .now) -> Slice? {
        if size == 0 { return Slice(first: 0, size: 0) }
        while let first = resting.first, now - first.since >= RowAllocator.grace {
            remove(resting.removeFirst().slice)
        }
        while slicesBelowGap < occupied.count, occupied[slicesBelowGap].first == firstGap {
            firstGap = occupied[slicesBelowGap].end
            slicesBelowGap += 1
        }
        var start = firstGap
        var index = slicesBelowGap
        while index < occupied.count, start + size > occupied[index].first {
            start = occupied[index].end
            index += 1
        }
        let slice = Slice(first: start, size: size)
        guard slice.end <= capacity else { return nil }
        occupied.insert(slice, at: index)
        return slice
    }

    mutating func release(_ slice: Slice, now: ContinuousClock.Instant = .now) {
        guard let index = index(of: slice), occupied[index] == slice, !resting.contains(where: { $0.slice == slice })
        else { return }
        resting.append((slice, now))
    }

    private mutating func remove(_ slice: Slice) {
        guard let index = index(of: slice) else { return }
        occupied.remove(at: index)
        if slice.first < firstGap {
            firstGap = slice.first
            slicesBelowGap = index
        }
    }

    /// Returns the index of the slice that begins at the same slot, by bisection; nil where there is none.
    private func index(of slice: Slice) -> Int? {
        var low = 0
        var high = occupied.count
        while low < high {
            let middle = (low + high) / 2
            if occupied[middle].first < slice.first { low = middle + 1 } else { high = middle }
        }
        return low < occupied.count && occupied[low].first == slice.first ? low : nil
    }
}
