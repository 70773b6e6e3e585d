internal import BPF
internal import PacketPrograms

/// Tables that are larger than the last daemon's, and not in use before they are published.
struct Growth {
    let names: Set<String>
    let old: DirectorMaps
    /// As they were when they were copied.
    let copiedLoads: [ipvsd_load]
    /// The tick before the copy; nil: it is not known.
    let copied: UInt32?

    /// Copies what is in the old tables. `now`: the tick.
    init(of names: Set<String>, from old: DirectorMaps, to maps: DirectorMaps, now: UInt32?) throws(BPFError) {
        self.names = names
        self.old = old
        copied = now
        copiedLoads = (0..<old.loads.count).map { old.loads[$0] }
        try TableGrowth.copy(names, from: old, to: maps)
        // Just these: what came since is added by `followCounts`.
        if names.contains("loads") { for (id, load) in copiedLoads.enumerated() { maps.loads[id] = load } }
        if names.contains("flows") { maps.isMoving = true }
    }
}
