internal import Glibc
internal import PacketPrograms

/// Hands out the rows of a fixed table. A freed row rests until every packet that may still read it is gone.
struct RowAllocator {
    /// A packet program runs for microseconds; this is ample.
    static let grace: Duration = .milliseconds(100)

    /// Waits until no packet is on its way that came before the call.
    static func waitForGrace() { usleep(UInt32(grace / .microseconds(1))) }

    private var used: Set<Int> = []
    private var resting: [(row: Int, since: ContinuousClock.Instant)] = []
    private var free: [Int]

    /// Rows 1 to `count` - 1: 0 stands for "not set".
    init(count: Int, used: Set<Int> = []) {
        self.used = used
        self.free = (1..<count).reversed().filter { !used.contains($0) }
    }

    var usedCount: Int { used.count }

    /// Rows that are in use or still rest.
    func heldCount(now: ContinuousClock.Instant = .now) -> Int {
        used.count + resting.count { now - $0.since < Self.grace }
    }

    /// Nil where the table is full.
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

/// Hands out slices of the slots, in whole groups of four. First fit; a freed slice rests like a freed row.
struct SliceAllocator {
    struct Slice: Hashable {
        /// In slots; a multiple of four.
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
    /// In their order; those that rest among them.
    private var occupied: [Slice]
    private var resting: [(slice: Slice, since: ContinuousClock.Instant)] = []
    /// Below it there is no gap: thousands of slices are handed out one after another at a start.
    private var firstGap = 4
    private var slicesBelowGap = 0

    /// `capacity` in slots. The first group stays unused: an empty slice is first 0, size 0.
    init(capacity: Int, used: [Slice] = []) {
        self.capacity = capacity
        self.occupied = used.filter { $0.size > 0 }.sorted { $0.first < $1.first }
    }

    init(groups: Int, used: [Slice] = []) {
        self.init(capacity: groups * Int(IPVSD_SLOT_GROUP), used: used)
    }

    /// Whether slices of these sizes fit, in this order, into a table of so many groups besides what is occupied.
    func hasRoom(for sizes: [Int], groups: Int, now: ContinuousClock.Instant = .now) -> Bool {
        let capacity = groups * Int(IPVSD_SLOT_GROUP)
        let end = sizes.reduce(occupied.last?.end ?? firstGap) { Slice(first: $0, size: $1).end }
        if end <= capacity { return true }
        var trial = self
        trial.capacity = capacity
        return sizes.allSatisfy { trial.allocate(size: $0, now: now) != nil }
    }

    /// In slots, with the rest of each group.
    var usedCount: Int { occupied.reduce(0) { $0 + $1.end - $1.first } }

    /// Nil where no gap is long enough.
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

    /// By bisection; nil where no slice begins there.
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
