internal import LoadBalancing
internal import PacketPrograms

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

/// The upper byte of a schedule's word.
extension SchedulerFlag {
    static func flags(of scheduler: Scheduler, word: UInt64) -> Set<SchedulerFlag> {
        Set(allCases.filter { $0.scheduler == scheduler && ipvsd_slice_flags(word) & $0.bit != 0 })
    }

    var bit: UInt32 {
        switch self {
        case .shPort, .mhPort: IPVSD_SCHEDULER_BY_PORT
        case .shFallback, .mhFallback: IPVSD_SCHEDULER_FALLBACK
        }
    }
}

extension Scheduler {
    /// Up to eight ASCII characters in a word, the first in the lowest byte.
    var packedName: UInt64 {
        rawValue.utf8.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    init?(packedName: UInt64) {
        guard let scheduler = Scheduler.allCases.first(where: { $0.packedName == packedName }) else { return nil }
        self = scheduler
    }
}
