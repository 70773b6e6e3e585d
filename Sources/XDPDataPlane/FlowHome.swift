internal import BPF
internal import CLinux
internal import PacketPrograms
internal import SystemCalls

/// A flow's place in the flow table.
struct FlowHome {
    /// The key of `ipvsd_flow`.
    let key: UInt64
    let hash: UInt64
    let bucket: Int
    /// The bucket for a flow whose first bucket has no room.
    let second: Int
    /// The first way of the half that is tried first.
    let half: Int

    init(key: UInt64, seed: UInt64, buckets: Int) {
        self.key = key
        let mask = UInt32(buckets - 1)
        hash = ipvsd_flow_hash(key, seed)
        bucket = Int(ipvsd_flow_bucket(hash, mask))
        second = Int(ipvsd_flow_second_bucket(hash, mask))
        half = Int(ipvsd_flow_half(hash))
    }
}

/// An entry in the memory of the flow table. Packets change it concurrently.
typealias FlowEntry = UnsafeMutablePointer<ipvsd_flow>

extension FlowEntry {
    private var key: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) + keyOffset }
    private var value: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) + valueOffset }

    func loadKey() -> UInt64 { clinux_load_u64(key) }
    func loadValue() -> UInt64 { clinux_load_u64(value) }
    func storeKey(_ word: UInt64) { clinux_store_u64(key, word) }
    /// Replaces the value. Returns false where it is no longer `old`.
    func swapValue(_ old: UInt64, for new: UInt64) -> Bool { clinux_compare_and_swap_u64(value, old, new) == 1 }

    /// Returns a key and its value. The value is 0 where there is no flow, or where the entry is changing.
    func load() -> ipvsd_flow {
        // The key is stored after the value. An unchanged value on the second read therefore belongs to the key.
        let value = loadValue()
        let key = loadKey()
        return ipvsd_flow(key: key, value: loadValue() == value ? value : 0)
    }
}

extension MappedArray<ipvsd_bucket> {
    func entries(ofBucket index: Int) -> FlowEntry {
        (pointer(index) + wayOffset).assumingMemoryBound(to: ipvsd_flow.self)
    }

    /// The bucket's entries, one after the other.
    func ways(ofBucket index: Int) -> some Sequence<FlowEntry> {
        let entries = entries(ofBucket: index)
        return (0..<Int(IPVSD_WAYS)).lazy.map { entries + $0 }
    }
}

// The offsets are looked up once, since there may be millions of entries.
private let wayOffset = MemoryLayout<ipvsd_bucket>.offset(ofStored: \.way)
private let keyOffset = MemoryLayout<ipvsd_flow>.offset(ofStored: \.key)
private let valueOffset = MemoryLayout<ipvsd_flow>.offset(ofStored: \.value)
