internal import BPF
internal import CLinux
internal import LoadBalancing
internal import PacketPrograms

/// The flags of a real server's row.
extension RealServer {
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
    /// Whether the row has at least one of these flags (IPVSD_SERVER_).
    func has(_ flags: UInt32) -> Bool { UInt32(self.flags) & flags != 0 }

    /// Whether the server is no longer configured. A server in standby is configured.
    var isRemoved: Bool { UInt32(flags) & (IPVSD_SERVER_REMOVED | IPVSD_SERVER_STANDBY) == IPVSD_SERVER_REMOVED }

    /// The tenths of the server's share that its slow start allows now.
    var tenths: Int { SlowStart.whole - Int(flags >> UInt16(IPVSD_SERVER_WITHHELD_SHIFT)) }

    var effective: EffectiveWeight {
        if has(IPVSD_SERVER_DOWN) { return .down }
        // A removed server is in no scheduler's table, like a server in standby.
        if has(IPVSD_SERVER_REMOVED) { return .standby }
        return .listed(weight: weight)
    }

    // MARK: Thresholds

    /// Returns upper_threshold and lower_threshold as one word.
    fileprivate static func word(of thresholds: ConnectionThresholds?) -> UInt64 {
        thresholds.map { ipvsd_threshold_word($0.upper, $0.effectiveLower) } ?? 0
    }

    fileprivate var thresholdWord: UInt64 { ipvsd_threshold_word(upper_threshold, lower_threshold) }

    /// The thresholds of the row; nil where it has none. The lower one is nil where it equals the default.
    var thresholds: ConnectionThresholds? {
        guard upper_threshold > 0 else { return nil }
        let byDefault = ConnectionThresholds(upper: upper_threshold)
        guard byDefault.effectiveLower != lower_threshold, (1...upper_threshold).contains(lower_threshold) else {
            return byDefault
        }
        return ConnectionThresholds(upper: upper_threshold, lower: lower_threshold)
    }

    /// Whether the server is overloaded, by the packet program's rule.
    func isOverloaded(by load: ipvsd_conn_counts) -> Bool {
        thresholds?.areExceeded(by: load.active &+ load.inactive, wasOverloaded: overloaded != 0) ?? false
    }
}

extension DirectorMaps {
    /// Writes a real server's thresholds, and its overload mark by its present connections. A raised upper threshold
    /// clears the mark, as in __ip_vs_update_dest.
    func writeThresholds(_ thresholds: ConnectionThresholds?, of id: Int) {
        let row = servers[id]
        guard row.thresholdWord != ipvsd_server.word(of: thresholds) else { return }
        let load = connectionCounts[id]
        let isRaised = thresholds.map { $0.upper > row.upper_threshold } ?? true
        let wasOverloaded = row.isOverloaded(by: load) && !isRaised
        let isOverloaded =
            thresholds?.areExceeded(by: load.active &+ load.inactive, wasOverloaded: wasOverloaded) ?? false
        servers.field(\.overloaded, of: id).pointee = isOverloaded ? 1 : 0
        clinux_store_u64(servers.field(\.upper_threshold, of: id), ipvsd_server.word(of: thresholds))
    }
}
