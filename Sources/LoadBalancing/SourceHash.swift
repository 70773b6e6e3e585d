public import Addresses

/// The tables of the sh and dh schedulers (ip_vs_sh.c, ip_vs_dh.c).
public enum SourceHash {
    /// The number of buckets of a table: IP_VS_SH_TAB_SIZE and IP_VS_DH_TAB_SIZE.
    public static let size = 256

    /// Returns the server of each bucket, as an index into `weights`. Servers fill consecutive buckets in list order,
    /// one for each unit of weight. A server of weight 0 gets one bucket (ip_vs_sh_reassign). The buckets are nil only
    /// if there are no servers.
    public static func buckets(weights: [Int]) -> [Int?] {
        guard !weights.isEmpty else { return Array(repeating: nil, count: size) }
        var buckets: [Int] = []
        var server = 0
        var filled = 0
        for _ in 0..<size {
            buckets.append(server)
            filled += 1
            if filled >= weights[server] {
                server = (server + 1) % weights.count
                filled = 0
            }
        }
        return buckets
    }

    /// Returns the buckets while servers start slowly. A server with fewer than ten `tenths` has only that part of its
    /// buckets, and keeps these as the tenths grow. Its other buckets belong to the servers that are not starting. No
    /// other server's clients move.
    public static func buckets(weights: [Int], tenths: [Int]) -> [Int?] {
        let whole = buckets(weights: weights)
        let steady = weights.indices.filter { tenths[$0] >= SlowStart.whole }
        guard steady.count < weights.count, steady.contains(where: { weights[$0] > 0 }) else { return whole }
        let others = buckets(weights: steady.map { weights[$0] }).map { $0.map { steady[$0] } }
        var passed = [Int](repeating: 0, count: weights.count)
        return whole.indices.map { bucket in
            guard let server = whole[bucket], weights[server] > 0 else { return whole[bucket] }
            // Any ten consecutive buckets of a server have all ranks. The factors 7 and 3 are coprime to ten, and
            // spread the ranks.
            let rank = (passed[server] * 7 + server * 3) % SlowStart.whole
            passed[server] += 1
            return rank < tenths[server] ? server : others[bucket]
        }
    }

    /// Returns the dh scheduler's server of a VIP, or nil if that server has weight 0. Servers fill the buckets in
    /// turn, whatever their weights (ip_vs_dh_reassign). The bucket is the lower 8 bits of the product of the address
    /// and 2,654,435,761. Of an IPv6 address, the four 32-bit words are combined by XOR first.
    public static func server(ofVIP vip: IPAddress, weights: [Int]) -> Int? {
        guard !weights.isEmpty else { return nil }
        let folded =
            switch vip {
            case .v4(let address): address.value
            case .v6(let address):
                [address.high, address.low].reduce(0) { $0 ^ UInt32($1 >> 32) ^ UInt32(truncatingIfNeeded: $1) }
            }
        let bucket = Int((UInt64(folded) * 2_654_435_761) & UInt64(size - 1))
        let server = bucket % weights.count
        return weights[server] > 0 ? server : nil
    }
}
