internal import PacketPrograms

/// The words of the flow table, as flows.h reads them.
extension PacketTables.Places.Entry {
    var state: Int { Int(value >> 12 & 0xF) }
    var server: UInt32 { UInt32(truncatingIfNeeded: value >> 16 & 0xFFFF) }

    /// In ticks. Another CPU's stamp may be ahead of a tick that was read before.
    func age(at now: UInt16) -> UInt16 { Self.age(ofStamp: UInt16(truncatingIfNeeded: value >> 48), at: now) }

    static func age(ofStamp stamp: UInt16, at now: UInt16) -> UInt16 {
        let age = now &- stamp
        return age > UInt16.max - 16 ? 0 : age
    }
}

/// A state's number in the flow table.
enum FlowState {
    static func isClosing(_ state: Int) -> Bool {
        [IPVSD_STATE_FIN_WAIT, IPVSD_STATE_TIME_WAIT, IPVSD_STATE_CLOSE].contains { Int($0.rawValue) == state }
    }

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

    /// `find` of flows.h: in the former table first, and in the second bucket only where something of the first is.
    func find(port: UInt16) -> Hit? {
        guard let places else { return nil }
        let identity = UInt64(port.bigEndian) << 32 | places.home.tag
        func way(_ entries: [Places.Entry]) -> Int? {
            entries.firstIndex {
                $0.key == places.home.key && $0.value != 0 && $0.value & (0xFFFF << 32 | 0xFFF) == identity
                    && !isExpired($0)
            }
        }
        for bucket in places.former {
            if let way = way(bucket) { return Hit(entry: bucket[way], isInOwnHalf: way < 4, isInFormerTable: true) }
        }
        if let way = way(places.first) { return Hit(entry: places.first[way], isInOwnHalf: way < 4) }
        guard places.hasSpilled, let way = way(places.second) else { return nil }
        return Hit(entry: places.second[way], isInSecondBucket: true, isInOwnHalf: way < 4)
    }

    /// `choose_place` of recording.h.
    var room: Room {
        guard let places else { return .none }
        let first = readiest(places.first)
        if first?.rank == Self.free { return .free }
        let second = readiest(places.second)
        if second?.rank == Self.free { return .free }
        return (first ?? second).map { .evicting($0.entry) } ?? .none
    }

    private static let free = 5

    /// Of equals the first; nil where none gives way.
    private func readiest(_ entries: [Places.Entry]) -> (entry: Places.Entry, rank: Int)? {
        var best: (entry: Places.Entry, rank: Int)?
        for entry in entries where readiness(entry) > best?.rank ?? 0 { best = (entry, readiness(entry)) }
        return best
    }

    private func readiness(_ entry: Places.Entry) -> Int {
        if entry.value == 0 || isExpired(entry) { return Self.free }
        if entry.age(at: shortNow) < 2 { return 0 }
        switch UInt32(entry.state) {
        case IPVSD_STATE_SYN_RECV.rawValue: return 4
        case IPVSD_STATE_TIME_WAIT.rawValue, IPVSD_STATE_CLOSE.rawValue: return 3
        case IPVSD_STATE_ONE_DATAGRAM.rawValue: return 2
        case IPVSD_STATE_BARE_ACK.rawValue: return 1
        default: return 0
        }
    }

    /// A flow of the bucket found no room so lately that it may go on.
    var hasOverflowed: Bool {
        guard let stamp = places?.overflowStamp, stamp != 0 else { return false }
        return Places.Entry.age(ofStamp: stamp, at: shortNow) <= settings.timeouts[FlowState.established]
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
