public import Addresses
public import LoadBalancing
internal import PacketPrograms

/// The choices by a hash of the client, as the reference for the tests of the packet program.
extension SourceHash {
    /// Returns the bucket of a client. The port is 0 without sh-port.
    public static func bucket(client: IPv4Address, port: UInt16) -> Int {
        Int(ipvsd_sh_bucket(client.value &+ UInt32(port)))
    }

    /// Returns the server of a bucket's clients, or nil if they are refused. This is the bucket's own server if it is
    /// available. Otherwise, `fallback` selects the server of the first bucket that ip_vs_sh_get_fallback reaches.
    public static func server(
        ofBucket bucket: Int, in buckets: [Int?], fallback: Bool, isAvailable: (Int) -> Bool
    ) -> Int? {
        guard let own = buckets[bucket] else { return nil }
        if isAvailable(own) { return own }
        guard fallback else { return nil }
        // The kernel adds the bucket to the offset and to the hash, so the walk starts at twice the bucket.
        for offset in 0..<size {
            if let other = buckets[(2 * bucket + offset) % size], isAvailable(other) { return other }
        }
        return nil
    }
}

extension MaglevTable {
    /// Returns a packet's hash. Port 0 hashes by the source address alone.
    public static func hash(client: IPv4Address, port: UInt16) -> UInt32 { ipvsd_maglev_hash(client.value, port) }

    /// Returns the slot of a hash.
    public static func slot(of hash: UInt32, size: Int) -> Int { Int(ipvsd_scale(hash, UInt32(size))) }
}

/// The hash of flows and Maglev tables.
public enum PacketHash {
    public static func mix(_ value: UInt64) -> UInt64 { ipvsd_mix(value) }
}

extension IPv4Prefix {
    /// Returns the address of this prefix that is the source of a flow's outer packets.
    public func outerSource(client: IPv4Address, clientPort: UInt16) -> IPv4Address {
        let hash = ipvsd_outer_host(client.bigEndian, clientPort.bigEndian)
        return IPv4Address(address.value | IPv4Address(bigEndian: hash).value & hostMask)
    }
}
