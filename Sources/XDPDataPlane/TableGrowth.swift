internal import BPF
internal import CLinux
internal import Glibc
internal import PacketPrograms

/// The replacement of small tables by larger ones while packets pass. Rows are copied, the program with the larger
/// tables replaces the previous one, and later changes of the old rows are taken over. Flows cannot wait that long: the
/// new program also searches the old flow table until they are moved.
enum TableGrowth {
    /// Publishes the larger tables that a killed daemon left, where they are in use. Removes them otherwise.
    static func recover(below directory: String) throws(BPFError) {
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

    /// Whether an interface has another program than the published one. That program has the larger tables, as it is
    /// published only after their pins have moved. (Its maps also show this, but a look-up takes CAP_SYS_ADMIN.)
    private static func isAnotherAttached(below directory: String) throws(BPFError) -> Bool {
        let published = try BPFProgram(pinnedAt: XDPDataPlane.programPin(directory: directory))?.id()
        for path in try XDPDataPlane.linkPins(below: directory) {
            if let link = try BPFLink(pinnedAt: path), try link.programID() != published { return true }
        }
        return false
    }

    /// Moves the larger table to the table's pin. The old flow table is kept for the flows that it still holds.
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

    /// Copies the marks. The lower bits of a bucket's number in the larger table are its number in the smaller one.
    static func copyOverflows(from old: DirectorMaps, to new: DirectorMaps) {
        for index in 0..<old.overflows.count {
            var stamps = old.overflows[index]
            // A moved flow gets a new mark where it needs one.
            stamps.spilled = ipvsd_overflow().spilled
            for other in stride(from: index, to: new.overflows.count, by: old.overflows.count) {
                new.overflows[other] = stamps
            }
        }
    }

    /// Adds the changes of the old table's counts since the copy. `copied` has the counts at that time.
    static func addCounts(from old: DirectorMaps, since copied: [ipvsd_conn_counts], to new: DirectorMaps) {
        for (index, before) in copied.enumerated() {
            let now = old.connectionCounts[index]
            clinux_add_u32(new.connectionCounts.field(\.active, of: index), now.active &- before.active)
            clinux_add_u32(new.connectionCounts.field(\.inactive, of: index), now.inactive &- before.inactive)
        }
    }

    /// Takes over the stamps of the old table that are later than those of the new one.
    static func mergeOverflows(from old: DirectorMaps, to new: DirectorMaps) {
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

    /// Takes over the templates that were made or used since the copy. A later template of the new map stays, as its
    /// client has come back by the new program. `copied` is the tick of the copy; nil: it is not known.
    static func mergeTemplates(
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

/// The tables that are larger than the last daemon's. They are not in use before they are published.
struct Growth {
    let grown: Set<PinnedMap>
    let old: DirectorMaps
    /// The connection counts at the time of the copy.
    let copiedCounts: [ipvsd_conn_counts]
    /// The tick before the copy; nil: it is not known.
    let copied: UInt32?

    /// Copies the rows of the old tables. `now` is the tick.
    init(of grown: Set<PinnedMap>, from old: DirectorMaps, to maps: DirectorMaps, now: UInt32?) throws(BPFError) {
        self.grown = grown
        self.old = old
        copied = now
        copiedCounts = (0..<old.connectionCounts.count).map { old.connectionCounts[$0] }
        for map in grown { try map.growth.copy?(self, maps) }
    }
}

/// The rule for a map's rows when a larger map takes its place.
struct GrowthRule: Sendable {
    typealias Step = @Sendable (Growth, _ maps: DirectorMaps) throws(BPFError) -> Void

    /// Fills the larger map while packets still change the one in use.
    var copy: Step?
    /// Takes over later changes of the old map by packets. Runs after the last packet that used it.
    var catchUp: Step?

    static let startsEmpty = GrowthRule()

    /// Returns a rule that copies the rows once. It is for a map that only the daemon writes, or whose rows may be a
    /// moment old.
    static func copied(_ copy: @escaping @Sendable (_ old: DirectorMaps, _ new: DirectorMaps) throws(BPFError) -> Void)
        -> GrowthRule
    {
        GrowthRule(copy: { growth, maps throws(BPFError) in try copy(growth.old, maps) })
    }

    /// Copies the counts, and adds their changes since the copy.
    static let connectionCounts = GrowthRule(
        copy: { growth, maps throws(BPFError) in
            for (id, counts) in growth.copiedCounts.enumerated() { maps.connectionCounts[id] = counts }
        },
        catchUp: { growth, maps throws(BPFError) in
            TableGrowth.addCounts(from: growth.old, since: growth.copiedCounts, to: maps)
        })

    /// Copies the numbers with a lead, since the previous program may still use numbers after the copy.
    static let outerIDs = GrowthRule(
        copy: { growth, maps throws(BPFError) in
            guard let old = growth.old.outerIDs, let new = maps.outerIDs else { return }
            for row in 0..<old.count where old[row] != 0 { new[row] = old[row] &+ IPVSD_ID_GROWTH_LEAD }
        })

    /// Keeps the old sums in a map of their own, since a larger per-CPU map begins at zero.
    static let statistics = GrowthRule(
        catchUp: { growth, maps throws(BPFError) in
            for index in 0..<growth.old.statistics.maxEntries {
                maps.carried[index] = try growth.old.statistics(of: UInt32(index))
            }
        })

    /// Moves flows after the swap. Until then the new program also searches the old table.
    static let flows = GrowthRule(copy: { _, maps throws(BPFError) in maps.isMigrating = true })

    /// Copies the stamps of overflow marks, and takes over later ones.
    static let overflows = GrowthRule(
        copy: { growth, maps throws(BPFError) in TableGrowth.copyOverflows(from: growth.old, to: maps) },
        catchUp: { growth, maps throws(BPFError) in TableGrowth.mergeOverflows(from: growth.old, to: maps) })

    /// Returns the rule for the templates of persistent clients in one of their maps.
    static func templates(
        in templates: @escaping @Sendable (DirectorMaps) -> BPFMap<ipvsd_template_key, ipvsd_template>?
    ) -> GrowthRule {
        GrowthRule(
            copy: { growth, maps throws(BPFError) in
                guard let old = templates(growth.old), let new = templates(maps) else { return }
                try TableGrowth.copyRows(old, new)
            },
            catchUp: { growth, maps throws(BPFError) in
                guard let old = templates(growth.old), let new = templates(maps) else { return }
                try TableGrowth.mergeTemplates(from: old, since: growth.copied, to: new)
            })
    }
}
