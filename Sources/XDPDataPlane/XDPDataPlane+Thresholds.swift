internal import BPF
internal import CLinux
internal import LoadBalancing
internal import PacketPrograms

/// Thresholds in the rows of real servers.
extension XDPDataPlane {
    /// Whether the server is overloaded is judged at once. A raised upper threshold sets it free, as in
    /// __ip_vs_update_dest.
    func writeThresholds(_ thresholds: ConnectionThresholds?, of id: Int) {
        let row = maps.servers[id]
        guard row.thresholdWord != ipvsd_server.word(of: thresholds) else { return }
        let load = maps.connectionCounts[id]
        let isRaised = thresholds.map { $0.upper > row.upper_threshold } ?? true
        let wasOverloaded = row.isOverloaded(by: load) && !isRaised
        let isOverloaded =
            thresholds?.areExceeded(by: load.active &+ load.inactive, wasOverloaded: wasOverloaded) ?? false
        maps.servers.field(\.overloaded, of: id).pointee = isOverloaded ? 1 : 0
        clinux_store_u64(maps.servers.field(\.upper_threshold, of: id), ipvsd_server.word(of: thresholds))
    }
}

extension ipvsd_server {
    /// upper_threshold and lower_threshold.
    static func word(of thresholds: ConnectionThresholds?) -> UInt64 {
        thresholds.map { ipvsd_threshold_word($0.upper, $0.effectiveLower) } ?? 0
    }

    var thresholdWord: UInt64 { ipvsd_threshold_word(upper_threshold, lower_threshold) }

    /// The lower one is nil where it is what an absent one would be.
    var thresholds: ConnectionThresholds? {
        guard upper_threshold > 0 else { return nil }
        let byDefault = ConnectionThresholds(upper: upper_threshold)
        guard byDefault.effectiveLower != lower_threshold, (1...upper_threshold).contains(lower_threshold) else {
            return byDefault
        }
        return ConnectionThresholds(upper: upper_threshold, lower: lower_threshold)
    }

    /// As the packet program judges it.
    func isOverloaded(by load: ipvsd_conn_counts) -> Bool {
        thresholds?.areExceeded(by: load.active &+ load.inactive, wasOverloaded: overloaded != 0) ?? false
    }
}
