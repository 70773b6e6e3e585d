internal import BPF
internal import CLinux
internal import PacketPrograms

/// Moves flows to their places in a flow table while packets pass. A search of the former place and then of the new one
/// finds the flow in at least one of them.
struct FlowMove {
    /// The treatment of another flow's entry that already has the new key of a moved flow. If one of the two flows has
    /// expired, the other one is kept, except with `stay`.
    enum Twins {
        /// The other entry stays beside the moved flow (`stay`), or is removed (`giveWay`).
        case stay, giveWay
        /// The other entry stays, and the moved flow is dropped.
        case prevail
    }

    private let maps: DirectorMaps
    private let seed: UInt64
    /// The present tick; nil: it is not known, and no flow counts as expired.
    private let now: UInt16?
    /// The time-out of each state, in ticks.
    private let timeouts: [UInt16]
    private let twins: Twins
    /// Whether the next flow may already have a copy, made by a daemon that was killed before it cleared the original.
    /// The original then replaces the copy.
    var expectsCopy = true

    init(to maps: DirectorMaps, now: UInt16?, twins: Twins = .stay) {
        self.maps = maps
        self.now = now
        self.twins = twins
        timeouts = maps.timeouts
        seed = maps.settings.field(\.seed).pointee
    }

    private enum Place {
        case entry(FlowEntry)
        case noRoom
        case taken
    }

    /// Moves the flow of an entry. `newKey` returns the flow's new key; nil: the flow stays. Returns whether the flow
    /// has left the entry.
    @discardableResult
    mutating func move(_ entry: FlowEntry, to newKey: (_ key: UInt64, _ value: UInt64) -> UInt64?) -> Bool {
        // Where a packet changes the entry meanwhile, the move is repeated. Packets do so a few times in a second at
        // most.
        while true {
            let value = entry.loadValue()
            guard value != 0, let key = newKey(entry.loadKey(), value) else { return false }
            let home = FlowHome(key: key, seed: seed, buckets: maps.flows.count)
            let moved = value & ~UInt64(IPVSD_FLOW_TAG_MASK) | ipvsd_flow_identity(0, home.hash)
            let place = insert(moved, at: home)
            if entry.swapValue(value, for: 0) {
                if case .entry = place { return true }
                maps.countConnection(of: value, -1)
                if case .noRoom = place { maps.markOverflow(home.bucket, stamp: now ?? ipvsd_flow_stamp(value)) }
                return true
            }
            // The entry has changed, so the copy is withdrawn. Where a packet has changed the copy, too, the copy stays
            // as a connection of its own, and is counted.
            if case .entry(let copy) = place, !copy.swapValue(moved, for: 0) { maps.countConnection(of: moved, 1) }
        }
    }

    private func isExpired(_ value: UInt64) -> Bool {
        guard let now else { return false }
        return ipvsd_stamp_age(ipvsd_flow_stamp(value), now) > timeouts[Int(ipvsd_flow_state(value))]
    }

    private mutating func insert(_ value: UInt64, at home: FlowHome) -> Place {
        for index in [home.bucket, home.second] {
            for place in maps.flows.ways(ofBucket: index) {
                let seen = place.loadValue()
                guard seen != 0, (seen ^ value) & IPVSD_FLOW_IDENTITY_MASK == 0, place.loadKey() == home.key else {
                    continue
                }
                if expectsCopy, (seen ^ value) & IPVSD_FLOW_SERVER_MASK == 0, place.swapValue(seen, for: value) {
                    return .entry(place)
                }
                if twins != .stay {
                    if isExpired(seen) {
                        if place.swapValue(seen, for: 0) { maps.countConnection(of: seen, -1) }
                        continue
                    }
                    if isExpired(value) { return .taken }
                }
                switch twins {
                case .stay: continue
                case .giveWay: if place.swapValue(seen, for: 0) { maps.countConnection(of: seen, -1) }
                case .prevail: return .taken
                }
            }
        }
        for index in [home.bucket, home.second] {
            // The mark gets the later one of the flow's stamp and the present tick.
            let stamp = ipvsd_flow_stamp(value)
            if index == home.second {
                maps.markSpilled(home.bucket, stamp: now.map { stamp &- $0 < 0x8000 ? stamp : $0 } ?? stamp)
            }
            for way in 0..<Int(IPVSD_WAYS) {
                let place = maps.flows.entries(ofBucket: index) + (way ^ home.half)
                if place.swapValue(0, for: value) {
                    place.storeKey(home.key)
                    return .entry(place)
                }
            }
        }
        return .noRoom
    }
}

extension DirectorMaps {
    /// Marks that a flow of the bucket goes to its second bucket, as mark_spilled in flows.h.
    func markSpilled(_ bucket: Int, stamp: UInt16) {
        let (row, place) = (ipvsd_overflow_row(UInt32(bucket)), ipvsd_overflow_place(UInt32(bucket)))
        overflows.field(\.spilled, of: Int(row), as: UInt16.self)[Int(place)] = ipvsd_stamp_of_now(stamp)
    }

    /// Adds `difference` to the connection counts that have the flow with this value, as count_conn in flows.h.
    func countConnection(of value: UInt64, _ difference: Int32) {
        let (server, state) = (Int(ipvsd_flow_server(value)), ipvsd_flow_state(value))
        let difference = UInt32(bitPattern: difference)
        if state == IPVSD_STATE_SYN_RECV.rawValue { clinux_add_u32(tableLoad.field(\.half_open), difference) }
        guard server < connectionCounts.count else { return }
        let isActive = ipvsd_state_is_active(state) != 0
        clinux_add_u32(connectionCounts.field(isActive ? \.active : \.inactive, of: server), difference)
    }

    /// Marks that a flow of the bucket has no entry, as mark_overflow in conn_insert.h.
    func markOverflow(_ bucket: Int, stamp: UInt16) {
        let (row, place) = (ipvsd_overflow_row(UInt32(bucket)), ipvsd_overflow_place(UInt32(bucket)))
        overflows.field(\.stamp, of: Int(row), as: UInt16.self)[Int(place)] = ipvsd_stamp_of_now(stamp)
    }
}
