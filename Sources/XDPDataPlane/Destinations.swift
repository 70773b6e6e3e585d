internal import BPF
internal import Glibc
internal import PacketPrograms

/// A VIP and a protocol.
struct Destination: Hashable {
    let vip: UInt32
    let transport: UInt8

    init(_ key: ipvsd_listener_key) { (vip, transport) = (key.vip, key.protocol) }
}

/// The numbers of VIPs and protocols, of which each flow's key has one. All listeners of a VIP and a protocol share theirs, and
/// a listener that comes beside them finds their flows.
struct Destinations {
    private var numbers: [Destination: UInt16] = [:]
    /// Those of listeners and of flows; nil: no other was needed yet, and the flow table was not read.
    private var taken: Set<UInt16>?

    init(of maps: DirectorMaps) throws(BPFError) {
        for (key, value) in try maps.listeners.entries() where key.protocol != 0 {
            numbers[Destination(key)] = value.destination
        }
    }

    /// The one that there is, or another one. One whose listeners are gone is free again when no flow has it.
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
    /// The numbers in the keys of all flows, expired or not.
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
