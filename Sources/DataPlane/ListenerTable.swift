internal import BPF
internal import CLinux
internal import PacketPrograms

/// `services` once more, in the array that the packet program searches first. Packets read it while it changes: an
/// entry's value is written before its key.
struct ListenerTable: Sendable {
    let buckets: MappedArray<ipvsd_listener_bucket>

    /// The bucket's number is what this leaves of a hash.
    private var shift: UInt64 { UInt64(64 - buckets.count.trailingZeroBitCount) }

    /// A key that finds its bucket full stays out: the packet program then asks `services`.
    func set(_ value: ipvsd_service_value, for key: ipvsd_service_key) {
        let word = unsafeBitCast(key, to: UInt64.self)
        let entries = entries(of: word)
        let free: Set<UInt64> = [0, IPVSD_LISTENER_REMOVED]
        guard
            let entry = entries.first(where: { clinux_load_u64($0) == word })
                ?? entries.first(where: { free.contains(clinux_load_u64($0)) })
        else { return }
        clinux_store_u64(entry + 8, unsafeBitCast(value, to: UInt64.self))
        clinux_store_u64(entry, word)
    }

    func remove(_ key: ipvsd_service_key) {
        let word = unsafeBitCast(key, to: UInt64.self)
        for entry in entries(of: word) where clinux_load_u64(entry) == word {
            clinux_store_u64(entry, IPVSD_LISTENER_REMOVED)
        }
    }

    private func entries(of word: UInt64) -> [UnsafeMutableRawPointer] {
        let bucket = buckets.pointer(Int((word &* 0x9E37_79B9_7F4A_7C15) >> shift))
        return (0..<Int(IPVSD_LISTENER_WAYS)).map { bucket + $0 * MemoryLayout<ipvsd_listener>.stride }
    }
}
