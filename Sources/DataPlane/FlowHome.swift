internal import LoadBalancing

/// Where a flow belongs in the flow table, as flows.h has it.
struct FlowHome {
    /// struct ipvsd_flow's
    let key: UInt64
    let bucket: Int
    /// Where it goes when its bucket has no room.
    let second: Int
    /// The first way of the half to try first: 0 or 4.
    let half: Int
    /// What its entries have besides the key, as two keys may be alike for a moment: 12 bits.
    let tag: UInt64

    init(key: UInt64, seed: UInt64, buckets: Int) {
        self.key = key
        let hash = PacketHash.mix(key ^ seed)
        bucket = Int(hash & UInt64(buckets - 1))
        second = Int(hash >> 25 & UInt64(buckets - 1))
        half = Int(hash >> 49 & 4)
        tag = hash >> 52
    }
}
