internal import PacketPrograms

/// The words of the flow table.
extension PacketTables.Places.Entry {
    var state: Int { Int(ipvsd_flow_state(value)) }
    var server: UInt32 { ipvsd_flow_server(value) }

    /// In ticks.
    func age(at now: UInt16) -> UInt16 { ipvsd_stamp_age(ipvsd_flow_stamp(value), now) }
}

/// A state's number in the flow table.
enum FlowState {
    static func isClosing(_ state: Int) -> Bool { ipvsd_state_is_closing(UInt32(state)) != 0 }

    static let synReceived = Int(IPVSD_STATE_SYN_RECV.rawValue)
    static let established = Int(IPVSD_STATE_ESTABLISHED.rawValue)
}

/// Where a flow is, or would be.
extension PacketTables {
    struct Hit {
        var entry: Places.Entry
        var isInSecondBucket = false
        /// Of the bucket, the half that the flow's hash names.
        var isInOwnHalf = true
        /// In the smaller table that is being left.
        var isInFormerTable = false
    }

    /// A new flow's place.
    enum Room {
        case free
        /// Another flow gives way.
        case evicting(Places.Entry)
        case none
    }

    func isExpired(_ entry: Places.Entry) -> Bool {
        entry.age(at: shortNow) > settings.timeouts[entry.state]
    }

    /// `find` of flows.h: in the old table first, and in the second bucket only where something of the first is.
    func find(port: UInt16) -> Hit? {
        guard let places else { return nil }
        let identity = ipvsd_flow_identity(port.bigEndian, places.home.hash)
        func way(_ entries: [Places.Entry]) -> Int? {
            entries.firstIndex {
                $0.key == places.home.key && $0.value != 0 && $0.value & IPVSD_FLOW_IDENTITY_MASK == identity
                    && !isExpired($0)
            }
        }
        for bucket in places.former {
            if let way = way(bucket) {
                return Hit(entry: bucket[way], isInOwnHalf: way < Int(IPVSD_HALF), isInFormerTable: true)
            }
        }
        if let way = way(places.first) { return Hit(entry: places.first[way], isInOwnHalf: way < Int(IPVSD_HALF)) }
        guard places.hasSpilled, let way = way(places.second) else { return nil }
        return Hit(entry: places.second[way], isInSecondBucket: true, isInOwnHalf: way < Int(IPVSD_HALF))
    }

    /// `choose_place` of conn_insert.h.
    var room: Room {
        guard let places else { return .none }
        let first = readiest(places.first)
        if first?.rank == Self.free { return .free }
        let second = readiest(places.second)
        if second?.rank == Self.free { return .free }
        return (first ?? second).map { .evicting($0.entry) } ?? .none
    }

    private static let free = IPVSD_RANK_FREE.rawValue

    /// Of equals the first; nil where none gives way.
    private func readiest(_ entries: [Places.Entry]) -> (entry: Places.Entry, rank: UInt32)? {
        var best: (entry: Places.Entry, rank: UInt32)?
        for entry in entries where readiness(entry) > best?.rank ?? 0 { best = (entry, readiness(entry)) }
        return best
    }

    private func readiness(_ entry: Places.Entry) -> UInt32 {
        entry.value == 0 || isExpired(entry) ? Self.free : ipvsd_flow_rank(entry.value, shortNow)
    }

    /// A flow of the bucket found no room so lately that it may go on.
    var hasOverflowed: Bool {
        guard let stamp = places?.overflowStamp, stamp != 0 else { return false }
        return ipvsd_stamp_age(stamp, shortNow) <= settings.timeouts[FlowState.established]
    }

    /// So many connections are half-open that new ones are not recorded: `is_flooded` of flood.h.
    var isFlooded: Bool {
        settings.halfOpenLimit > 0 && pressure.halfOpen >= Int32(bitPattern: settings.halfOpenLimit)
    }

    /// They were so lately that connections without an entry may go on.
    var hasBeenFlooded: Bool {
        pressure.last != 0
            && Int32(bitPattern: now &- pressure.last) <= Int32(settings.timeouts[FlowState.established])
    }

    /// No daemon sweeps the flow table any more: packets of new flows do.
    var isUnattended: Bool {
        pressure.swept != 0 && Int32(bitPattern: now &- pressure.swept) >= IPVSD_ABSENT_TICKS
    }
}
