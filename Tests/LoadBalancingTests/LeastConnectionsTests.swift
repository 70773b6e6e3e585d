import LoadBalancing
import Testing

/// lc and wlc choices, with their ties, by hand from ip_vs_lc.c and ip_vs_wlc.c.
struct LeastConnectionsTests {
    /// A row's servers are (active, inactive, weight).
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

    @Test(arguments: [
        Row([], lc: nil, wlc: nil),
        Row([(0, 0, 0), (0, 0, 0)], lc: nil, wlc: nil),
        Row([(9, 9, 1)], lc: 0, wlc: 0),
        // Ties: the first wins.
        Row([(0, 0, 1), (0, 0, 1)], lc: 0, wlc: 0),
        Row([(5, 0, 1), (2, 0, 1), (2, 0, 1)], lc: 1, wlc: 1),
        // No load is no load at any weight.
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

    @Test func longLivedConnectionsSettleByWeight() {
        var servers = [1, 2, 3].map { LeastConnections.Load(active: 0, inactive: 0, weight: $0) }
        for _ in 0..<600 {
            guard let chosen = LeastConnections.choose(servers, weighted: true) else { break }
            servers[chosen].active += 1
        }
        #expect(servers.map(\.active) == [100, 200, 300])
    }
}
