internal import BPF
internal import PacketPrograms

/// Tables that are larger than the last daemon's, and not in use before they are published.
struct Growth {
    let grown: Set<PinnedMap>
    let old: DirectorMaps
    /// The connection counts as they were copied.
    let copiedCounts: [ipvsd_conn_counts]
    /// The tick before the copy; nil: it is not known.
    let copied: UInt32?

    /// Copies what is in the old tables. `now`: the tick.
    init(of grown: Set<PinnedMap>, from old: DirectorMaps, to maps: DirectorMaps, now: UInt32?) throws(BPFError) {
        self.grown = grown
        self.old = old
        copied = now
        copiedCounts = (0..<old.connectionCounts.count).map { old.connectionCounts[$0] }
        for map in grown { try map.growth.copy?(self, maps) }
    }
}

/// What becomes of a map's rows when a larger one takes its place.
struct GrowthRule: Sendable {
    typealias Step = @Sendable (Growth, _ maps: DirectorMaps) throws(BPFError) -> Void

    /// Fills the larger map while packets still change the one in use.
    var copy: Step?
    /// Takes over what packets changed in the old map since then. Runs once the last packet that used it is through.
    var follow: Step?

    static let startsEmpty = GrowthRule()

    /// A copy is enough: only the control plane writes rows, or what packets write in them may be a moment old.
    static func copied(_ copy: @escaping @Sendable (_ old: DirectorMaps, _ new: DirectorMaps) throws(BPFError) -> Void)
        -> GrowthRule
    {
        GrowthRule(copy: { growth, maps throws(BPFError) in try copy(growth.old, maps) })
    }

    /// What packets counted since the copy is added.
    static let connectionCounts = GrowthRule(
        copy: { growth, maps throws(BPFError) in
            for (id, counts) in growth.copiedCounts.enumerated() { maps.connectionCounts[id] = counts }
        },
        follow: { growth, maps throws(BPFError) in
            TableGrowth.addCounts(from: growth.old, since: growth.copiedCounts, to: maps)
        })

    /// The program before may go on giving out numbers after the copy.
    static let outerIDs = GrowthRule(
        copy: { growth, maps throws(BPFError) in
            guard let old = growth.old.outerIDs, let new = maps.outerIDs else { return }
            for row in 0..<old.count where old[row] != 0 { new[row] = old[row] &+ IPVSD_ID_GROWTH_LEAD }
        })

    /// A larger map of all CPUs begins at zero. What the old one has counted is carried besides.
    static let statistics = GrowthRule(
        follow: { growth, maps throws(BPFError) in
            for index in 0..<growth.old.statistics.maxEntries {
                maps.carried[index] = try growth.old.statistics(of: UInt32(index))
            }
        })

    /// Flows are moved after the swap. Until then the new program also looks where they were.
    static let flows = GrowthRule(copy: { _, maps throws(BPFError) in maps.isMigrating = true })

    /// Marks of full buckets.
    static let overflows = GrowthRule(
        copy: { growth, maps throws(BPFError) in TableGrowth.copyOverflows(from: growth.old, to: maps) },
        follow: { growth, maps throws(BPFError) in TableGrowth.followOverflows(from: growth.old, to: maps) })

    /// Templates of persistent clients, in the map that `templates` names.
    static func templates(
        in templates: @escaping @Sendable (DirectorMaps) -> BPFMap<ipvsd_template_key, ipvsd_template>?
    ) -> GrowthRule {
        GrowthRule(
            copy: { growth, maps throws(BPFError) in
                guard let old = templates(growth.old), let new = templates(maps) else { return }
                try TableGrowth.copyRows(old, new)
            },
            follow: { growth, maps throws(BPFError) in
                guard let old = templates(growth.old), let new = templates(maps) else { return }
                try TableGrowth.followTemplates(from: old, since: growth.copied, to: new)
            })
    }
}
