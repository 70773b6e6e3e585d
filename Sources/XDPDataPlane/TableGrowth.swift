internal import BPF
internal import CLinux
internal import Glibc
internal import PacketPrograms

/// Tables that became too small give way to larger ones while packets pass. What is in them is copied, the program
/// with the larger ones takes the place of the one before, and what changed meanwhile follows. Only flows can not
/// wait that long: until they are moved, the new program also looks where they were.
enum TableGrowth {
    /// Settles what a daemon left that was killed while tables grew: the larger ones are in use, or they are not.
    static func settle(below directory: String) throws(BPFError) {
        let waiting = MapCatalogue.all.filter { access($0.nextPin(below: directory), F_OK) == 0 }
        if waiting.isEmpty { return }
        let isInUse = try isAnotherAttached(below: directory)
        for map in waiting {
            if isInUse {
                try publish(map, below: directory)
            } else {
                unlink(map.nextPin(below: directory))
            }
        }
    }

    /// Whether an interface has another program than the published one: the one with the larger tables, as it is published
    /// only once those have their names. (Its maps tell it too, but to look a program up takes CAP_SYS_ADMIN.)
    private static func isAnotherAttached(below directory: String) throws(BPFError) -> Bool {
        let published = try BPFProgram(pinnedAt: XDPDataPlane.programPin(directory: directory))?.id()
        for path in try XDPDataPlane.linkPins(below: directory) {
            if let link = try BPFLink(pinnedAt: path), try link.programID() != published { return true }
        }
        return false
    }

    /// The larger table is now the table; the flow table before it is kept for the flows that are still there.
    static func publish(_ map: PinnedMap, below directory: String) throws(BPFError) {
        let path = map.pin(below: directory)
        if map == MapCatalogue.flows.map { try move(path, to: MapCatalogue.oldFlows.map.pin(below: directory)) }
        try move(map.nextPin(below: directory), to: path)
    }

    private static func move(_ path: String, to other: String) throws(BPFError) {
        if rename(path, other) != 0, errno != ENOENT { throw BPFError("rename \(path) to \(other)", code: errno) }
    }

    static func copyRows<Row>(_ old: MappedArray<Row>, _ new: MappedArray<Row>) {
        memcpy(new.pointer(0), old.pointer(0), old.count * old.stride)
    }

    static func copyRows<Key, Value>(_ old: BPFMap<Key, Value>, _ new: BPFMap<Key, Value>) throws(BPFError) {
        for (key, value) in try old.entries() { try new.update(value, for: key) }
    }

    static func fillListenerCache(of new: DirectorMaps, from old: DirectorMaps) throws(BPFError) {
        for (key, value) in try old.listeners.entries() { new.listenerCache.set(value, for: key) }
    }

    /// A flow's bucket in the larger table has the number of its bucket in the smaller one in its lower bits.
    static func copyOverflows(from old: DirectorMaps, to new: DirectorMaps) {
        for index in 0..<old.overflows.count {
            var stamps = old.overflows[index]
            // Moved flows are spilled anew, or not.
            stamps.spilled = ipvsd_overflow().spilled
            for other in stride(from: index, to: new.overflows.count, by: old.overflows.count) {
                new.overflows[other] = stamps
            }
        }
    }

    /// Adds what packets counted in the old table since it was copied. `copied`: the counts as they were then.
    static func addCounts(from old: DirectorMaps, since copied: [ipvsd_conn_counts], to new: DirectorMaps) {
        for (index, before) in copied.enumerated() {
            let now = old.connectionCounts[index]
            clinux_add_u32(new.connectionCounts.field(\.active, of: index), now.active &- before.active)
            clinux_add_u32(new.connectionCounts.field(\.inactive, of: index), now.inactive &- before.inactive)
        }
    }

    /// Keeps the later of two stamps.
    static func followOverflows(from old: DirectorMaps, to new: DirectorMaps) {
        for index in 0..<old.overflows.count {
            let stamps = old.overflows.field(\.stamp, of: index, as: UInt16.self)
            for bucket in 0..<Int(IPVSD_OVERFLOW_BUCKETS) {
                let stamp = stamps[bucket]
                if stamp == 0 { continue }
                for other in stride(from: index, to: new.overflows.count, by: old.overflows.count) {
                    let place = new.overflows.field(\.stamp, of: other, as: UInt16.self) + bucket
                    if place.pointee == 0 || Int16(bitPattern: stamp &- place.pointee) > 0 { place.pointee = stamp }
                }
            }
        }
    }

    /// A client that has come back since, by the new program, has a later template there. `copied`: the tick of the copy;
    /// nil: it is not known.
    static func followTemplates(
        from old: BPFMap<ipvsd_template_key, ipvsd_template>, since copied: UInt32?,
        to new: BPFMap<ipvsd_template_key, ipvsd_template>
    ) throws(BPFError) {
        for (key, template) in try old.entries() {
            if let copied, Int32(bitPattern: template.stamp &- copied) < 0 { continue }
            if try new.insert(template, for: key) { continue }
            guard let present = try new.value(for: key) else { continue }
            if Int32(bitPattern: template.stamp &- present.stamp) > 0 { try new.update(template, for: key) }
        }
    }

    /// Moves every flow to the table of `maps`.
    static func moveFlows(from old: MappedArray<ipvsd_bucket>, to maps: DirectorMaps, now: UInt16?) {
        var move = FlowMove(to: maps, now: now)
        for index in 0..<old.count {
            for entry in old.ways(ofBucket: index) { move.move(entry) { key, _ in key } }
        }
    }
}
