public import Addresses
public import LoadBalancing
internal import PacketPrograms

/// Choices by a hash of the client: the reference that the packet program's are tested against.
extension SourceHash {
    /// The bucket of a client. Port 0 without sh-port.
    public static func bucket(client: IPv4Address, port: UInt16) -> Int {
        Int(ipvsd_sh_bucket(client.value &+ UInt32(port)))
    }

    /// The server for a bucket's clients, nil where they are refused: the bucket's own, if it is available, else none,
    /// or with `fallback` that of the first bucket that ip_vs_sh_get_fallback comes to.
    public static func server(
        ofBucket bucket: Int, in buckets: [Int?], fallback: Bool, isAvailable: (Int) -> Bool
    ) -> Int? {
        guard let own = buckets[bucket] else { return nil }
        if isAvailable(own) { return own }
        guard fallback else { return nil }
        // The kernel adds the bucket to the walk's offset and to the hash: it starts at twice the bucket.
        for offset in 0..<size {
            if let other = buckets[(2 * bucket + offset) % size], isAvailable(other) { return other }
        }
        return nil
    }
}

extension MaglevTable {
    /// A packet's hash. To hash by source address alone, pass port 0.
    public static func hash(client: IPv4Address, port: UInt16) -> UInt32 { ipvsd_maglev_hash(client.value, port) }

    /// The slot of a hash.
    public static func slot(of hash: UInt32, size: Int) -> Int { Int(ipvsd_scale(hash, UInt32(size))) }
}

/// The hash of flows and Maglev tables.
public enum PacketHash {
    public static func mix(_ value: UInt64) -> UInt64 { ipvsd_mix(value) }
}

extension IPv4Prefix {
    /// The address of this prefix that a flow's outer packets come from.
    public func outerSource(client: IPv4Address, clientPort: UInt16) -> IPv4Address {
        let hash = ipvsd_outer_host(client.bigEndian, clientPort.bigEndian)
        return IPv4Address(address.value | IPv4Address(bigEndian: hash).value & hostMask)
    }
}
