import DataPlane
import TestSupport
import Testing

@testable import XDPDataPlane

/// The allocators of rows and slices. Each row or slice has one user at a time, and rests when it is freed.
struct AllocatorTests {
    private let start = ContinuousClock.now

    @Test("rows are given out in order until the table is full") func rowsInOrderUntilTheTableIsFull() {
        var rows = RowAllocator(count: 5, used: [2])
        let given = (0..<4).map { _ in rows.allocate(now: start) }
        #expect(given == [1, 3, 4, nil])
    }

    @Test("a freed row rests") func aFreedRowRests() {
        var rows = RowAllocator(count: 3)
        #expect([rows.allocate(now: start), rows.allocate(now: start)] == [1, 2])
        rows.release(1, now: start)
        let early = rows.allocate(now: start + RowAllocator.grace - .nanoseconds(1))
        let late = rows.allocate(now: start + RowAllocator.grace)
        #expect(early == nil)
        #expect(late == 1)
    }

    @Test("a row is freed once") func rowsAreFreedOnce() {
        var rows = RowAllocator(count: 3)
        _ = (rows.allocate(now: start), rows.allocate(now: start))
        rows.release(2, now: start)
        rows.release(2, now: start)
        rows.release(0, now: start)
        rows.release(7, now: start)
        let later = start + RowAllocator.grace
        #expect([rows.allocate(now: later), rows.allocate(now: later)] == [2, nil])
    }

    @Test("adopted rows can be freed") func adoptedRowsCanBeFreed() {
        var rows = RowAllocator(count: 3, used: [1, 2])
        #expect([rows.allocate(now: start)] == [nil])
        rows.release(2, now: start)
        #expect([rows.allocate(now: start + RowAllocator.grace)] == [2])
    }

    private typealias Slice = SliceAllocator.Slice

    @Test("slices are whole groups") func slicesAreWholeGroups() {
        var slices = SliceAllocator(capacity: 20)
        #expect([slices.allocate(size: 0, now: start)] == [Slice(first: 0, size: 0)])
        #expect([slices.allocate(size: 1, now: start)] == [Slice(first: 4, size: 1)])
        #expect([slices.allocate(size: 5, now: start)] == [Slice(first: 8, size: 5)])
        #expect([slices.allocate(size: 5, now: start)] == [nil])
        #expect([slices.allocate(size: 4, now: start)] == [Slice(first: 16, size: 4)])
        #expect([slices.allocate(size: 1, now: start)] == [nil])
    }

    @Test("a slice takes the first gap between adopted slices") func firstFitBetweenAdoptedSlices() {
        var slices = SliceAllocator(
            capacity: 40, used: [Slice(first: 20, size: 3), Slice(first: 0, size: 0), Slice(first: 8, size: 4)])
        #expect([slices.allocate(size: 8, now: start)] == [Slice(first: 12, size: 8)])
        #expect([slices.allocate(size: 4, now: start)] == [Slice(first: 4, size: 4)])
        #expect([slices.allocate(size: 4, now: start)] == [Slice(first: 24, size: 4)])
    }

    @Test("a freed slice rests") func aFreedSliceRests() {
        var slices = SliceAllocator(capacity: 8)
        #expect([slices.allocate(size: 4, now: start)] == [Slice(first: 4, size: 4)])
        slices.release(Slice(first: 4, size: 4), now: start)
        #expect([slices.allocate(size: 4, now: start)] == [nil])
        #expect([slices.allocate(size: 4, now: start + RowAllocator.grace)] == [Slice(first: 4, size: 4)])
    }

    /// The slices in use are compared with a map of every slot.
    @Test("slices never overlap") func slicesNeverOverlap() throws {
        var random = SplitMix(seed: 3)
        var slices = SliceAllocator(capacity: 4096)
        var live: [Slice] = []
        var now = start
        for _ in 0..<2000 {
            now += RowAllocator.grace
            if Bool.random(using: &random), let index = live.indices.randomElement(using: &random) {
                slices.release(live.remove(at: index), now: now)
            } else if let slice = slices.allocate(size: Int.random(in: 1...300, using: &random), now: now) {
                try #require(slice.first >= 4 && slice.first % 4 == 0 && slice.end <= 4096)
                for other in live { try #require(slice.end <= other.first || other.end <= slice.first) }
                live.append(slice)
            }
        }
    }
}
