internal import DataPlane
internal import LoadBalancing
internal import PacketPrograms

/// How a real server stands, as the flags of its row say it.
extension DesiredService.Server {
    var flags: UInt32 {
        effective.standing.flags | (movesPersistent ? IPVSD_SERVER_MOVES : 0)
            | (movesDatagrams ? IPVSD_SERVER_MOVES_DATAGRAMS : 0)
            | UInt32(SlowStart.whole - effective.tenths) << UInt32(IPVSD_SERVER_WITHHELD_SHIFT)
    }
}

extension EffectiveWeight.Standing {
    fileprivate var flags: UInt32 {
        switch self {
        case .listed: IPVSD_SERVER_USED
        case .down: IPVSD_SERVER_USED | IPVSD_SERVER_DOWN
        case .standby: IPVSD_SERVER_USED | IPVSD_SERVER_REMOVED | IPVSD_SERVER_STANDBY
        }
    }
}

extension ipvsd_server {
    /// No longer configured; one that stands by is.
    var isRemoved: Bool { UInt32(flags) & (IPVSD_SERVER_REMOVED | IPVSD_SERVER_STANDBY) == IPVSD_SERVER_REMOVED }

    /// Of its share, as far as its slow start is.
    var tenths: Int { SlowStart.whole - Int(flags >> UInt16(IPVSD_SERVER_WITHHELD_SHIFT)) }

    var effective: EffectiveWeight {
        if UInt32(flags) & IPVSD_SERVER_DOWN != 0 { return .down }
        // Removed or not: no table has it.
        if UInt32(flags) & IPVSD_SERVER_REMOVED != 0 { return .standby }
        return .listed(weight: weight)
    }
}
