/// Hands out slices of the slots, in whole groups of four. First fit; a freed slice rests like a freed row.
struct SliceAllocator {
    struct Slice: Hashable {
        /// In slots; a multiple of four.
        var first: Int
        var size: Int

        var end: Int { first + (size + 3) / 4 * 4 }
    }

    private let capacity: Int
    private var used: [Slice]
    private var resting: [(slice: Slice, since: ContinuousClock.Instant)] = []

    /// `capacity` in slots. The first group stays unused: an empty slice is first 0, size 0.
    init(capacity: Int, used: [Slice] = []) {
        self.capacity = capacity
        self.used = used.filter { $0.size > 0 }.sorted { $0.first < $1.first }
    }

    /// Nil where no gap is long enough.
    mutating func allocate(size: Int, now: ContinuousClock.Instant = .now) -> Slice? {
        if size == 0 { return Slice(first: 0, size: 0) }
        resting.removeAll { now - $0.since >= RowAllocator.grace }
        let occupied = (used + resting.map(\.slice)).sorted { $0.first < $1.first }
        var start = 4
        for slice in occupied where start + size > slice.first {
            start = max(start, slice.end)
        }
        let slice = Slice(first: start, size: size)
        guard slice.end <= capacity else { return nil }
        used.append(slice)
        return slice
    }

    mutating func release(_ slice: Slice, now: ContinuousClock.Instant = .now) {
        guard let index = used.firstIndex(of: slice) else { return }
        used.remove(at: index)
        resting.append((slice, now))
    }
}
