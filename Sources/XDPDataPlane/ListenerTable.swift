internal import BPF
internal import CLinux
internal import PacketPrograms
internal import SystemCalls

/// The listeners once more, in the array that the packet program searches first. Packets read it while it changes: an
/// entry's value is written before its key.
struct ListenerTable: Sendable {
    let buckets: MappedArray<ipvsd_listener_bucket>

    /// The bucket's number is what this leaves of a hash.
    private var shift: UInt32 { UInt32(64 - buckets.count.trailingZeroBitCount) }

    /// A key that finds its bucket full stays out: the packet program then asks the map of listeners.
    func set(_ value: ipvsd_listener_value, for key: ipvsd_listener_key) {
        let word = unsafeBitCast(key, to: UInt64.self)
        let entries = entries(of: word)
        let free: Set<UInt64> = [0, IPVSD_LISTENER_REMOVED]
        guard
            let entry = entries.first(where: { clinux_load_u64($0) == word })
                ?? entries.first(where: { free.contains(clinux_load_u64($0)) })
        else { return }
        clinux_store_u64(entry + valueOffset, unsafeBitCast(value, to: UInt64.self))
        clinux_store_u64(entry, word)
    }

    func remove(_ key: ipvsd_listener_key) {
        let word = unsafeBitCast(key, to: UInt64.self)
        for entry in entries(of: word) where clinux_load_u64(entry) == word {
            clinux_store_u64(entry, IPVSD_LISTENER_REMOVED)
        }
    }

    private func entries(of word: UInt64) -> [UnsafeMutableRawPointer] {
        let bucket = buckets.pointer(Int(ipvsd_listener_index(word, shift)))
        return (0..<Int(IPVSD_LISTENER_WAYS)).map { bucket + $0 * MemoryLayout<ipvsd_cached_listener>.stride }
    }
}

private let valueOffset = MemoryLayout<ipvsd_cached_listener>.offset(ofStored: \.value)
