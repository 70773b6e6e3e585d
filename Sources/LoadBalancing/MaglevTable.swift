/// The table of Maglev consistent hashing, which maps a packet's hash to a server. Every director builds the same
/// table.
///
/// The algorithm is from Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
/// section 3.4. Each member has its own permutation of the slots. Members take turns, and each turn claims the first
/// free slot of the member's permutation. The kernel's counterpart is ip_vs_mh.c.
public enum MaglevTable {
    /// The range of sizes, which also have to be primes. Its end is the paper's "large" table.
    public static let acceptedSizes = 251...655_373

    /// The default sizes: primes near the powers of two from 2^8 to 2^19, and the largest accepted size. The first ten
    /// are the kernel's (`primes` in ip_vs_mh.c).
    static let sizes = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071, 262_139, 524_287, 655_373]

    /// Returns the smallest default size that gives each of `n` servers 100 slots, and that is at least `minimum`.
    /// Shares of equal servers then differ by 1 % at most. From 5,243 servers on, the size is 655,373.
    ///
    /// The size also decides how many slots move between the remaining servers when a server leaves. The following
    /// shares were measured with 10 equal servers, as the worst of 20 sets of keys. They are 14 % at 1,021 slots, 2 %
    /// at 4,093 (the kernel's default) and 1 % at 65,521.
    public static func size(forServers n: Int, minimum: Int = 251) -> Int {
        sizes.first { $0 >= 100 * n && $0 >= minimum } ?? acceptedSizes.upperBound
    }

    /// Returns the accepted primes next to `size`, in ascending order: `size` itself, or the nearest prime on each
    /// side.
    public static func nearestSizes(to size: Int) -> [Int] {
        let size = min(max(size, acceptedSizes.lowerBound), acceptedSizes.upperBound)
        let below = (acceptedSizes.lowerBound...size).last(where: isPrime)
        let above = (size...acceptedSizes.upperBound).first(where: isPrime)
        return Array(Set([below, above].compactMap(\.self))).sorted()
    }

    /// Builds a table of `size` slots, each an index into `members`. The table is empty if no member has a positive
    /// weight.
    ///
    /// A member's key is its name on every director, independent of the order of `members`. Keys must differ. Members
    /// take turns in proportion to their weights (0 to 65,535), as defined by `TurnOrder`. Let n be the number of
    /// members with a positive weight, and s = size * weight / sum the exact share of a member. That member gets from
    /// `s * (1 - n / size)` to `s + 1` slots, and at least one while n <= size.
    ///
    /// A permutation is offset + i * skip modulo `size`. With h = `mix(key)`, offset = (h >> 32) mod size and skip = (h
    /// & 0xffffffff) mod (size - 1) + 1. As `size` is a prime, each skip reaches all slots.
    public static func build(members: [(key: UInt64, weight: Int)], size: Int) -> [UInt16] {
        precondition(members.count < Int(UInt16.max), "\(members.count) members do not fit in 16 bits")
        precondition(isPrime(size), "\(size) is no prime")
        let ranked = members.indices.filter { members[$0].weight > 0 }.sorted { members[$0].key < members[$1].key }
        guard !ranked.isEmpty else { return [] }
        let hashes = ranked.map { mix(members[$0].key) }
        let skips = hashes.map { Int($0 & 0xffff_ffff) % (size - 1) + 1 }
        var positions = hashes.map { Int($0 >> 32) % size }
        var turns = TurnOrder(weights: ranked.map { members[$0].weight })
        return [UInt16](unsafeUninitializedCapacity: size) { table, initialized in
            // A separate bit for each slot stays in the processor's nearest cache.
            var taken = [UInt64](repeating: 0, count: (size + 63) / 64)
            taken.withUnsafeMutableBufferPointer { taken in
                var filled = 0
                while filled < size {
                    for rank in turns.next() {
                        let skip = skips[rank]
                        var position = positions[rank]
                        while taken[position >> 6] >> UInt64(position & 63) & 1 != 0 {
                            position += skip
                            if position >= size { position -= size }
                        }
                        positions[rank] = position
                        taken[position >> 6] |= 1 << UInt64(position & 63)
                        table.initializeElement(at: position, to: UInt16(ranked[rank]))
                        filled += 1
                        if filled == size { break }
                    }
                }
            }
            initialized = size
        }
    }

    /// Returns the key after the increment and the output function of SplitMix64 (Steele, Lea, Flood: "Fast Splittable
    /// Pseudorandom Number Generators", 2014). Directors of all versions must use the same function.
    static func mix(_ key: UInt64) -> UInt64 {
        var x = key &+ 0x9e37_79b9_7f4a_7c15
        x = (x ^ x >> 30) &* 0xbf58_476d_1ce4_e5b9
        x = (x ^ x >> 27) &* 0x94d0_49bb_1331_11eb
        return x ^ x >> 31
    }

    public static func isPrime(_ n: Int) -> Bool {
        guard n > 1 else { return false }
        var divisor = 2
        while divisor * divisor <= n {
            guard !n.isMultiple(of: divisor) else { return false }
            divisor += 1
        }
        return true
    }
}
