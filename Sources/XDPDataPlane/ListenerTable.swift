internal import Addresses
internal import BPF
internal import CLinux
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms
internal import SystemCalls

/// A listener as the key of the map `listeners`.
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

    /// The keys, one for each protocol. A listener with an IPv6 address has none, as its service is refused.
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
    /// Returns the address for the maps. Throws EAFNOSUPPORT for IPv6.
    func inMaps() throws(BPFError) -> IPv4Address {
        do throws(WrongFamily) { return try asIPv4() } catch {
            throw BPFError("put an address into the packet program's maps: \(error)", code: EAFNOSUPPORT)
        }
    }
}

/// The flags of a listener's row.
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

/// The array `listener_cache`, which the packet program searches before the map of listeners. Packets read it during a
/// change, so an entry's value is written before its key.
struct ListenerTable: Sendable {
    let buckets: MappedArray<ipvsd_listener_bucket>

    /// Returns the number of bits by which a hash is shifted to give a bucket. The number of buckets is a power of two.
    static func shift(buckets: Int) -> UInt32 { UInt32(64 - buckets.trailingZeroBitCount) }

    /// Writes an entry. A key whose bucket is full is left out, and the packet program finds it in the map `listeners`.
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

/// A VIP and a protocol, in network byte order.
struct Destination: Hashable {
    let vip: UInt32
    let transport: UInt8

    init(_ key: ipvsd_listener_key) { (vip, transport) = (key.vip, key.protocol) }
}

/// The number of each VIP and protocol, which is a part of a flow's key. All listeners of a VIP and protocol share one
/// number, so that a new listener finds the flows of the others.
struct Destinations {
    private var numbers: [Destination: UInt16] = [:]
    /// The numbers of listeners and flows; nil until a new number is needed, as the whole flow table has to be read.
    private var taken: Set<UInt16>?

    init(of maps: DirectorMaps) throws(BPFError) {
        for (key, value) in try maps.listeners.entries() where key.protocol != 0 {
            numbers[Destination(key)] = value.destination
        }
    }

    /// Returns the number of the key's VIP and protocol, or a free number where they have none yet. After all their
    /// listeners are removed, the number is free again when no flow has it.
    mutating func number(of key: ipvsd_listener_key, in maps: DirectorMaps) throws(BPFError) -> UInt16 {
        if let number = numbers[Destination(key)] { return number }
        var taken = taken ?? maps.destinationsOfFlows.union(numbers.values).union([0])
        guard let number = (1...UInt16.max).first(where: { !taken.contains($0) }) else {
            throw BPFError("add a listener: all \(UInt16.max) numbers of VIPs and protocols are in use", code: ENOSPC)
        }
        taken.insert(number)
        self.taken = taken
        numbers[Destination(key)] = number
        return number
    }
}

extension DirectorMaps {
    /// The numbers in the keys of all flows, expired ones included.
    fileprivate var destinationsOfFlows: Set<UInt16> {
        let hasFlows = (1..<connectionCounts.count).contains {
            connectionCounts[$0].active != 0 || connectionCounts[$0].inactive != 0
        }
        var numbers: Set<UInt16> = []
        guard hasFlows else { return numbers }
        for bucket in 0..<flows.count {
            for entry in flows.ways(ofBucket: bucket) where entry.loadValue() != 0 {
                numbers.insert(ipvsd_flow_destination(entry.loadKey()))
            }
        }
        return numbers
    }
}
