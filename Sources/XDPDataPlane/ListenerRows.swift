internal import Addresses
internal import BPF
internal import CLinux
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms
internal import SystemCalls

/// What the packet program looks up.
extension ServiceAddress {
    init(key: ipvsd_listener_key) {
        let vip = IPAddress.v4(IPv4Address(bigEndian: key.vip))
        let transport = TransportProtocol.allCases.first { $0.number == key.protocol }
        if key.port != 0, let transport {
            self.init(vip: vip, port: UInt16(bigEndian: key.port), transport: transport)
        } else {
            self.init(vip: vip)
        }
    }

    /// One for each protocol. IPv6 has none: such a service is refused.
    var keys: [(key: ipvsd_listener_key, transport: TransportProtocol)] {
        guard let vip = vip.v4 else { return [] }
        return (transport.map { [$0] } ?? TransportProtocol.allCases).map { transport in
            let key = ipvsd_listener_key(
                vip: vip.bigEndian, port: (port ?? 0).bigEndian, protocol: transport.number, reserved: 0)
            return (key, transport)
        }
    }
}

extension IPAddress {
    /// Returns the address as the maps have it. IPv6 is refused.
    func inMaps() throws(BPFError) -> IPv4Address {
        do throws(WrongFamily) { return try asIPv4() } catch {
            throw BPFError("put an address into the packet program's maps: \(error)", code: EAFNOSUPPORT)
        }
    }
}

/// What a listener says of its service, in its flags.
extension VirtualService {
    func flags(ofListener listener: ServiceAddress, transport: TransportProtocol) -> UInt16 {
        var flags = onServerLoss.flags
        if listener.isAnyPort { flags |= IPVSD_SERVICE_ANY_PORT }
        if persistence != nil { flags |= IPVSD_SERVICE_PERSISTENT }
        if transport == .udp {
            if isOnePacket { flags |= IPVSD_SERVICE_ONE_PACKET }
            if onServerRemoval == .finish { flags |= IPVSD_SERVICE_FINISHES }
        }
        return UInt16(flags)
    }
}

extension ServerLoss {
    init(flags: UInt32) { self = Self.allCases.first { $0.flags != 0 && flags & $0.flags != 0 } ?? .keep }

    fileprivate var flags: UInt32 {
        switch self {
        case .keep: 0
        case .reset: IPVSD_SERVICE_RESETS
        case .rehash: IPVSD_SERVICE_REHASHES
        }
    }
}

/// The listeners once more, in the array that the packet program searches first. Packets read it while it changes: an
/// entry's value is written before its key.
struct ListenerTable: Sendable {
    let buckets: MappedArray<ipvsd_listener_bucket>

    /// Returns by how many bits a hash is shifted to be the number of a bucket. The number of buckets is a power of two.
    static func shift(buckets: Int) -> UInt32 { UInt32(64 - buckets.trailingZeroBitCount) }

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
        let bucket = buckets.pointer(Int(ipvsd_listener_index(word, Self.shift(buckets: buckets.count))))
        return (0..<Int(IPVSD_LISTENER_WAYS)).map { bucket + $0 * MemoryLayout<ipvsd_cached_listener>.stride }
    }
}

private let valueOffset = MemoryLayout<ipvsd_cached_listener>.offset(ofStored: \.value)
