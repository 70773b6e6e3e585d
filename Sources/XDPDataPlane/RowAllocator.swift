internal import Glibc

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
