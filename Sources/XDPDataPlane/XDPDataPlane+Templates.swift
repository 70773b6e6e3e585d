internal import BPF
internal import DataPlane
internal import PacketPrograms

/// A pass over the confirmed templates of persistent clients.
struct TemplatePass {
    /// The kernel's: the bucket to go on with; nil: the first one.
    var position: UInt32?
    /// Rows of one run; more where a bucket holds more.
    var room = 4096
    /// Rows that stay.
    var kept: UInt32 = 0
}

/// Confirmed templates, which the packet program never evicts: the daemon frees those that count no more.
extension XDPDataPlane {
    /// One run of the pass in `sweepPass`, which ends with the last row. A failure ends it, too: the next pass begins anew.
    func freeSomeTemplates() throws(BPFError) {
        guard let templates = maps.confirmedTemplates, var pass = sweepPass.templates.take() else { return }
        let now = try tick()
        let batch = try templates.batch(after: pass.position, room: pass.room)
        var hasFreed = false
        for (key, template) in batch.entries {
            if maps.isOver(template, of: key, now: now), try remove(key, unlessUsedSince: template, from: templates) {
                hasFreed = true
            } else {
                pass.kept += 1
            }
        }
        let load = maps.tableLoad
        if hasFreed { load.field(\.templates_full).pointee = 0 }
        if batch.entries.isEmpty, !batch.isLast { pass.room *= 2 }
        pass.position = batch.next
        if batch.isLast {
            load.field(\.templates_used).pointee = pass.kept
        } else {
            sweepPass.templates = pass
        }
    }

    /// Whether it is gone: a client may have come back since the row was read.
    private func remove(
        _ key: ipvsd_template_key, unlessUsedSince seen: ipvsd_template,
        from templates: BPFMap<ipvsd_template_key, ipvsd_template>
    ) throws(BPFError) -> Bool {
        guard let present = try templates.value(for: key) else { return true }
        guard present.stamp == seen.stamp else { return false }
        try templates.remove(key)
        return true
    }
}

extension DirectorMaps {
    /// Confirmed templates, as far as the daemon has counted them; nil where no service is persistent, or the data plane is
    /// an older one.
    var templateUse: (used: UInt32, limit: UInt32)? {
        guard let size = confirmedTemplates?.maxEntries, size > 1 else { return nil }
        return (tableLoad.field(\.templates_used).pointee, UInt32(size))
    }

    /// Its time is over, its service is no longer persistent, or its real server's row is free or another service's. `now`: the
    /// tick; nil: it is not known.
    func isOver(_ template: ipvsd_template, of key: ipvsd_template_key, now: UInt32?) -> Bool {
        guard Int(key.service) < services.count, Int(template.server) < servers.count else { return true }
        let persistence = services[Int(key.service)].persistence
        let server = servers[Int(template.server)]
        let age = now.map { Int32(bitPattern: $0 &- template.stamp) } ?? 0
        return persistence == 0 || age > Int32(bitPattern: persistence) || UInt32(server.service) != key.service
            || UInt32(server.flags) & IPVSD_SERVER_USED == 0
    }
}
