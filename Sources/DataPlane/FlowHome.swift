internal import LoadBalancing

/// Where a flow belongs in the flow table, as flows.h has it.
struct FlowHome {
    let bucket: Int
    /// Where it goes when its bucket has no room.
    let second: Int
    /// The first way of the half to try first: 0 or 4.
    let half: Int

    /// `key`: struct ipvsd_flow's.
    init(key: UInt64, seed: UInt64, buckets: Int) {
        let hash = PacketHash.mix(key ^ seed)
        bucket = Int(hash & UInt64(buckets - 1))
        second = Int(hash >> 25 & UInt64(buckets - 1))
        half = Int(hash >> 49 & 4)
    }
}
