import Addresses
import TestSupport
import Testing

@testable import LoadBalancing

/// Maglev tables: their shares, the slots that move, and their equality on every director.
struct MaglevTableTests {
    static let size = 65537

    static func equalMembers(_ count: Int, firstKey: UInt64 = 0x0a00_000b) -> [(key: UInt64, weight: Int)] {
        (0..<count).map { (firstKey + UInt64($0), 1) }
    }

    static func slots(_ table: [UInt16], members: Int) -> [Int] {
        table.reduce(into: [Int](repeating: 0, count: members)) { $0[Int($1)] += 1 }
    }

    @Test(
        "equal members have equal shares within one percent",
        arguments: [0x0a00_000b, 0xc0a8_0001, 1, 0xffff_ffff_0000_0000] as [UInt64])
    func equalMembersShareWithinOnePercent(firstKey: UInt64) {
        let members = Self.equalMembers(10, firstKey: firstKey)
        let exact = Double(Self.size) / 10
        for count in Self.slots(MaglevTable.build(members: members, size: Self.size), members: 10) {
            #expect(abs(Double(count) - exact) <= exact / 100)
        }
    }

    @Test("shares follow weights within one percent")
    func sharesFollowWeightsWithinOnePercent() {
        let weights = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 100]
        let members = weights.enumerated().map { (key: UInt64($0 + 500), weight: $1) }
        let counts = Self.slots(MaglevTable.build(members: members, size: Self.size), members: members.count)
        for (weight, count) in zip(weights, counts) {
            let exact = Double(Self.size * weight) / Double(weights.reduce(0, +))
            #expect(abs(Double(count) - exact) <= exact / 100, "weight \(weight)")
        }
    }

    @Test("shares keep to their documented bounds")
    func sharesKeepToTheirBounds() {
        var random = SplitMix(seed: 3)
        for _ in 0..<40 {
            let members = (0..<Int.random(in: 1...30, using: &random)).map { _ in
                (key: random.next(), weight: Int.random(in: 1...65535, using: &random))
            }
            let size = 4093
            let sum = members.reduce(0) { $0 + $1.weight }
            let counts = Self.slots(MaglevTable.build(members: members, size: size), members: members.count)
            for (member, count) in zip(members, counts) {
                let exact = Double(size * member.weight) / Double(sum)
                #expect(Double(count) <= exact + 1)
                #expect(Double(count) >= exact * (1 - Double(members.count) / Double(size)))
                #expect(count >= 1)
            }
        }
    }

    @Test("a member that leaves moves at most two percent of the other slots", arguments: 0..<10)
    func oneThatLeavesMovesLittleElse(gone: Int) {
        let cases: [(firstKey: UInt64, weights: [Int])] = [
            (0x0a00_000b, [1, 1]), (0xc0a8_0101, [1, 1]), (0x0a00_000b, [3, 5]),
        ]
        for (firstKey, weights) in cases {
            var members = (0..<10).map { (key: firstKey + UInt64($0), weight: weights[$0 % 2]) }
            let before = MaglevTable.build(members: members, size: Self.size)
            members[gone].weight = 0
            let after = MaglevTable.build(members: members, size: Self.size)
            #expect(!after.contains(UInt16(gone)))
            let moved = zip(before, after).count { $0 != $1 && $0 != UInt16(gone) }
            #expect(moved * 100 <= Self.size * 2, "\(moved) slots moved")
            members.remove(at: gone)
            let removed = MaglevTable.build(members: members, size: Self.size)
            #expect(removed.map { $0 >= gone ? $0 + 1 : $0 } == after)
        }
    }

    @Test("the order of members does not matter")
    func orderOfMembersDoesNotMatter() {
        var random = SplitMix(seed: 4)
        let members = Self.equalMembers(20).enumerated().map { (key: $1.key, weight: $0 % 4) }
        let keys = MaglevTable.build(members: members, size: 2039).map { members[Int($0)].key }
        for _ in 0..<5 {
            let shuffled = members.shuffled(using: &random)
            #expect(MaglevTable.build(members: shuffled, size: 2039).map { shuffled[Int($0)].key } == keys)
        }
    }

    @Test("the scale of weights does not matter")
    func scaleOfWeightsDoesNotMatter() {
        let members = [(key: 1 as UInt64, weight: 1), (key: 2, weight: 2), (key: 3, weight: 3)]
        let scaled = members.map { (key: $0.key, weight: $0.weight * 21845) }
        #expect(MaglevTable.build(members: members, size: 1021) == MaglevTable.build(members: scaled, size: 1021))
    }

    /// Directors of different versions share connections: if this value changes, so do all tables in the field.
    @Test("a known table stays the same in all versions")
    func goldenTable() {
        let table = MaglevTable.build(members: [(1, 1), (2, 2), (3, 3)], size: 251)
        #expect(table.count == 251)
        let start: [UInt16] = [
            2, 2, 2, 2, 1, 2, 1, 1, 2, 1, 2, 0, 1, 2, 0, 2, 2, 2, 2, 2, 0, 2, 1, 2, 1, 1, 0, 1, 2, 0, 1, 2,
        ]
        #expect(Array(table.prefix(32)) == start)
    }

    @Test("a table with one member or none has no choice")
    func tablesWithoutAChoice() {
        #expect(MaglevTable.build(members: [], size: 251) == [])
        #expect(MaglevTable.build(members: [(1, 0), (2, 0)], size: 251) == [])
        #expect(MaglevTable.build(members: [(1, 0), (2, 5)], size: 251) == [UInt16](repeating: 1, count: 251))
    }

    @Test(
        "the default size gives each server a hundred slots",
        arguments: [
            (0, 251), (1, 251), (2, 251), (3, 509), (5, 509), (6, 1021), (10, 1021), (20, 2039), (655, 65521),
            (656, 131_071), (1000, 131_071), (5242, 524_287), (5243, 655_373), (60000, 655_373),
        ])
    func sizeGivesEachServerAHundredSlots(servers: Int, expected: Int) {
        #expect(MaglevTable.size(forServers: servers) == expected)
    }

    @Test("every accepted prime is a size")
    func anyPrimeWillDo() {
        for size in [251, 257, 65537, 655_373] {
            let table = MaglevTable.build(members: Self.equalMembers(3), size: size)
            #expect(Self.slots(table, members: 3).allSatisfy { abs($0 * 3 - size) <= size / 20 })
        }
        #expect(MaglevTable.nearestSizes(to: 65536) == [65521, 65537])
        #expect(MaglevTable.nearestSizes(to: 65537) == [65537])
        #expect(MaglevTable.nearestSizes(to: 0) == [251])
        #expect(MaglevTable.nearestSizes(to: 1_000_000) == [655_373])
    }

    @Test("a size is at least the minimum")
    func sizeHasAMinimum() {
        #expect(MaglevTable.size(forServers: 2, minimum: 4093) == 4093)
        #expect(MaglevTable.size(forServers: 2, minimum: 4094) == 8191)
        #expect(MaglevTable.size(forServers: 100, minimum: 4093) == 16381)
    }

    /// The packet program's tests use the same values.
    @Test("known hashes stay the same in all versions")
    func goldenHashes() {
        #expect(MaglevTable.hash(client: IPv4Address(0), port: 0) == 0)
        #expect(MaglevTable.hash(client: IPv4Address(0x0a00_0001), port: 12345) == 3_376_136_844)
        #expect(MaglevTable.hash(client: IPv4Address(0xffff_ffff), port: 65535) == 990_126_419)
    }

    @Test("hashes cover the whole table")
    func slotsCoverTheTable() {
        #expect(MaglevTable.slot(of: 0, size: 251) == 0)
        #expect(MaglevTable.slot(of: .max, size: 251) == 250)
        #expect(MaglevTable.slot(of: .max, size: 524_287) == 524_286)
    }

    @Test("the ports of one client spread over the servers")
    func oneClientsPortsSpreadOverTheServers() {
        let table = MaglevTable.build(members: Self.equalMembers(10), size: 1021)
        var counts = [Int](repeating: 0, count: 10)
        for port in UInt16(32768)...UInt16.max {
            let hash = MaglevTable.hash(client: IPv4Address(0xc0a8_0101), port: port)
            counts[Int(table[MaglevTable.slot(of: hash, size: table.count)])] += 1
        }
        for count in counts { #expect(abs(count - 3277) < 330) }
    }
}
