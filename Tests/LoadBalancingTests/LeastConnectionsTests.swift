import Addresses
import LoadBalancing
import TestSupport
import Testing

/// The choices of lc and wlc, with their ties, derived by hand from ip_vs_lc.c and ip_vs_wlc.c.
struct LeastConnectionsTests {
    /// Servers as (active, inactive, weight), and the index that each scheduler chooses.
    struct Row: Sendable {
        let servers: [(UInt32, UInt32, UInt16)]
        let lc: Int?
        let wlc: Int?

        init(_ servers: [(UInt32, UInt32, UInt16)], lc: Int?, wlc: Int?) {
            self.servers = servers
            self.lc = lc
            self.wlc = wlc
        }
    }

    @Test(
        "lc and wlc choose as in the kernel",
        arguments: [
            Row([], lc: nil, wlc: nil),
            Row([(0, 0, 0), (0, 0, 0)], lc: nil, wlc: nil),
            Row([(9, 9, 1)], lc: 0, wlc: 0),
            // Ties: the first wins.
            Row([(0, 0, 1), (0, 0, 1)], lc: 0, wlc: 0),
            Row([(5, 0, 1), (2, 0, 1), (2, 0, 1)], lc: 1, wlc: 1),
            // A load of 0 is equal at any weight.
            Row([(0, 0, 1), (0, 0, 100)], lc: 0, wlc: 0),
            Row([(1, 0, 1), (2, 0, 2), (3, 0, 3)], lc: 0, wlc: 0),
            Row([(2, 0, 2), (1, 0, 1)], lc: 1, wlc: 0),
            // One active connection weighs as much as 256 inactive ones.
            Row([(1, 0, 1), (0, 256, 1)], lc: 0, wlc: 0),
            Row([(1, 0, 1), (0, 255, 1)], lc: 1, wlc: 1),
            Row([(1, 0, 1), (0, 257, 1)], lc: 0, wlc: 0),
            // Weights.
            Row([(4, 0, 1), (7, 0, 2)], lc: 0, wlc: 1),
            Row([(4, 0, 1), (8, 0, 2)], lc: 0, wlc: 0),
            Row([(10, 3, 3), (10, 2, 3), (10, 1, 2)], lc: 2, wlc: 1),
            // Weight 0 is skipped wherever it stands.
            Row([(0, 0, 0), (7, 0, 1), (0, 0, 0), (6, 0, 1)], lc: 3, wlc: 3),
            Row([(7, 0, 1), (0, 0, 0)], lc: 0, wlc: 0),
            // Largest values.
            Row([(.max, .max, .max), (.max, .max - 1, .max)], lc: 1, wlc: 1),
            Row([(.max, .max, 1), (.max, .max, .max)], lc: 0, wlc: 1),
            Row([(.max, .max, .max), (.max, .max, 1)], lc: 0, wlc: 0),
        ])
    func choice(row: Row) {
        let loads = row.servers.map { LeastConnections.Load(active: $0.0, inactive: $0.1, weight: $0.2) }
        #expect(LeastConnections.choose(loads, weighted: false) == row.lc)
        #expect(LeastConnections.choose(loads, weighted: true) == row.wlc)
    }

    @Test("long-lived connections are distributed by weight")
    func longLivedConnectionsSettleByWeight() {
        var servers = [1, 2, 3].map { LeastConnections.Load(active: 0, inactive: 0, weight: $0) }
        for _ in 0..<600 {
            guard let chosen = LeastConnections.choose(servers, weighted: true) else { break }
            servers[chosen].active += 1
        }
        #expect(servers.map(\.active) == [100, 200, 300])
    }
}

/// The choices of other schedulers, derived by hand from ip_vs_sed.c, ip_vs_nq.c, ip_vs_ovf.c, ip_vs_fo.c,
/// ip_vs_twos.c, ip_vs_sh.c and ip_vs_dh.c.
struct OtherSchedulersTests {
    private func loads(_ rows: [(UInt32, UInt32, UInt16)]) -> [LeastConnections.Load] {
        rows.map { LeastConnections.Load(active: $0.0, inactive: $0.1, weight: $0.2) }
    }

    @Test("sed counts the new connection")
    func shortestExpectedDelayCountsTheNewConnection() {
        // (1 + 1) / 1 against (2 + 1) / 2.
        #expect(LeastConnections.shortestExpectedDelay(loads([(1, 0, 1), (2, 0, 2)])) == 1)
        // Inactive connections do not count; the first of equals wins.
        #expect(LeastConnections.shortestExpectedDelay(loads([(0, 900, 1), (0, 0, 1)])) == 0)
        #expect(LeastConnections.shortestExpectedDelay(loads([(0, 0, 0)])) == nil)
    }

    @Test("nq takes the first idle server")
    func neverQueueTakesTheFirstIdleOne() {
        #expect(LeastConnections.neverQueue(loads([(1, 0, 100), (0, 5, 1), (0, 0, 9)])) == 1)
        #expect(LeastConnections.neverQueue(loads([(0, 0, 0), (3, 0, 1), (3, 0, 2)])) == 2)
    }

    @Test("ovf goes down the weights")
    func overflowGoesDownTheWeights() {
        #expect(LeastConnections.overflow(loads([(0, 0, 5), (10, 0, 10), (0, 0, 10)])) == 1)
        #expect(LeastConnections.overflow(loads([(0, 0, 5), (11, 0, 10), (11, 0, 10)])) == 0)
        #expect(LeastConnections.overflow(loads([(6, 0, 5), (11, 0, 10)])) == nil)
    }

    @Test("fo orders servers by weight")
    func failoverTakesTheHeaviest() {
        #expect(Failover.order(weights: [1, 9, 0, 9, 3]) == [1, 3, 4, 0])
        #expect(Failover.order(weights: [0, 0]) == [])
    }

    @Test("an overloaded server is skipped")
    func whoIsOverloadedIsPassedOver() {
        var servers = loads([(0, 0, 10), (5, 0, 2), (9, 0, 20)])
        servers[0].isOverloaded = true
        #expect(LeastConnections.choose(servers, weighted: false) == 1)
        #expect(LeastConnections.choose(servers, weighted: true) == 2)
        #expect(LeastConnections.shortestExpectedDelay(servers) == 2)
        #expect(LeastConnections.neverQueue(servers) == 2)
        #expect(LeastConnections.overflow(servers) == 2)
        #expect(LeastConnections.twoChoices(servers, ring: [0, 0, 0, 2], draw: 0) == 2)
        for index in servers.indices { servers[index].isOverloaded = true }
        #expect(LeastConnections.choose(servers, weighted: true) == nil)
        #expect(LeastConnections.twoChoices(servers, ring: [0, 1, 2], draw: 7) == nil)
    }

    /// The flag of ip_vs_conn.c is set at the upper threshold, and cleared below the lower one.
    @Test("a threshold has a hysteresis")
    func thresholdsHaveHysteresis() {
        let given = ConnectionThresholds(upper: 10, lower: 4)
        #expect((0...11).map { given.areExceeded(by: $0, wasOverloaded: false) } == (0...11).map { $0 >= 10 })
        #expect((0...11).map { given.areExceeded(by: $0, wasOverloaded: true) } == (0...11).map { $0 >= 4 })
        // The default lower threshold is three quarters: connections * 4 < upper * 3 clears the flag.
        for upper in 1...50 as ClosedRange<UInt32> {
            let byDefault = ConnectionThresholds(upper: upper)
            for connections in 0...upper {
                #expect(
                    byDefault.areExceeded(by: connections, wasOverloaded: true) == !(connections * 4 < upper * 3))
            }
        }
    }

    @Test("twos takes the second server only if it has less load")
    func twoChoicesTakeTheSecondOnlyIfItIsLess() {
        let servers = loads([(4, 0, 1), (4, 0, 1), (3, 0, 1)])
        // The halves of the draw: ring slots 0 and 1, then 0 and 2.
        #expect(LeastConnections.twoChoices(servers, ring: [0, 1, 2], draw: 0x6000_0000_0000_0000) == 0)
        #expect(LeastConnections.twoChoices(servers, ring: [0, 1, 2], draw: 0xC000_0000_0000_0000) == 2)
        #expect(LeastConnections.twoChoices(servers, ring: [], draw: 0) == nil)
    }

    @Test("sh fills its buckets by weight")
    func sourceHashTableFillsByWeight() {
        let weights = [2, 0, 1]
        let buckets = SourceHash.buckets(weights: weights)
        #expect(buckets.prefix(8) == [0, 0, 1, 2, 0, 0, 1, 2])
        #expect(SourceHash.buckets(weights: []) == [Int?](repeating: nil, count: 256))
        func servers(fallback: Bool, out: Int? = nil) -> [Int] {
            (0..<8).map {
                SourceHash.server(ofBucket: $0, in: buckets, fallback: fallback) { weights[$0] > 0 && $0 != out } ?? -1
            }
        }
        #expect(servers(fallback: false) == [0, 0, -1, 2, 0, 0, -1, 2])
        // Bucket 2 walks from bucket 4, bucket 6 from 12.
        #expect(servers(fallback: true) == [0, 0, 0, 2, 0, 0, 0, 2])
        #expect(servers(fallback: false, out: 0) == [-1, -1, -1, 2, -1, -1, -1, 2])
        #expect(servers(fallback: true, out: 0) == [2, 2, 2, 2, 2, 2, 2, 2])
        #expect(SourceHash.server(ofBucket: 0, in: buckets, fallback: true) { _ in false } == nil)
    }

    @Test("the hashes are the kernel's")
    func hashesOfTheKernel() {
        // hash_32(0x0A000001, 8) = 0x0A000001 * 0x61C88647 mod 2^32, its upper 8 bits.
        #expect(SourceHash.bucket(client: IPv4Address(0x0A00_0001), port: 0) == 0x27)
        // 10.0.0.100 * 2654435761, its lower 8 bits: 0x64 * 0xB1 mod 256 = 0x24.
        #expect(SourceHash.server(ofVIP: IPAddress(0x0A00_0064), weights: [1, 1, 1, 1, 1]) == 0x24 % 5)
        // The four words of an IPv6 address are combined by XOR: here 0x65 and 0x01.
        let far = IPAddress.v6(IPv6Address(high: 0x65 << 32, low: 0x01))
        #expect(SourceHash.server(ofVIP: far, weights: [1, 1, 1, 1, 1]) == 0x24 % 5)
    }
}
