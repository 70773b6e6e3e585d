/// What the packet program hashes with: `mix` of flows.h.
public enum PacketHash {
    /// Twice x ^= x >> 32; x *= 0xd6e8feb86659fd93 (mod 2^64), then x ^= x >> 32.
    public static func mix(_ value: UInt64) -> UInt64 {
        var x = value
        for _ in 0..<2 {
            x ^= x >> 32
            x &*= 0xd6e8_feb8_6659_fd93
        }
        return x ^ x >> 32
    }
}
