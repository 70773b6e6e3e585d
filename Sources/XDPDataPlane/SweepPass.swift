public import BPF
internal import DataPlane
internal import PacketPrograms

/// The sweep's pass over the whole flow table and all confirmed templates. It frees expired entries in many short runs,
/// since a long run would keep a CPU from other tasks.
struct SweepPass {
    /// The progress of a pass over the confirmed templates of persistent clients. The packet program never evicts them.
    private struct TemplatePass {
        /// The kernel's bucket at which the next run begins; nil: the first one.
        var position: UInt32?
        /// The number of rows that a run reads. It grows where a bucket holds more.
        var room = 4096
        /// The number of rows that stay.
        var kept: UInt32 = 0
    }

    private let maps: DirectorMaps
    /// The bucket of the flow table at which the next run begins; nil: all flows are swept.
    private var nextBucket: Int?
    /// The pass over the templates; nil: all templates are swept.
    private var templates: TemplatePass?
    private var start = ContinuousClock.now
    /// The start of the last complete pass; nil: there was none.
    private(set) var lastCompleteStart: ContinuousClock.Instant?
    private(set) var completePasses = 0

    init(of maps: DirectorMaps) { self.maps = maps }

    /// Whether the last call of `advance` left a pass that is not complete.
    private var isRunning: Bool { nextBucket != nil || templates != nil }

    /// Gives up a pass that is not complete. The next call of `advance` begins a new pass.
    mutating func abandon() { (nextBucket, templates) = (nil, nil) }

    /// Does at least one run, and more until the time is over or the pass is complete. Returns whether it is complete.
    mutating func advance(for time: Duration, by object: BPFObject) throws(BPFError) -> Bool {
        let program = try object.program(named: "sweep")
        let callStart = ContinuousClock.now
        if !isRunning {
            nextBucket = 0
            templates = maps.confirmedTemplates == nil ? nil : TemplatePass()
            start = callStart
        }
        repeat {
            if let first = nextBucket {
                var run = ipvsd_sweep_run(first: UInt32(first))
                try program.run(on: &run)
                let next = first + Int(IPVSD_SWEEP_BUCKETS)
                nextBucket = next < maps.flows.count ? next : nil
            } else {
                try sweepTemplates(by: object)
            }
        } while isRunning && ContinuousClock.now - callStart < time
        guard !isRunning else { return false }
        lastCompleteStart = start
        completePasses += 1
        return true
    }

    /// Does one run over the templates. An error ends this part of the pass: the next pass begins anew.
    private mutating func sweepTemplates(by object: BPFObject) throws(BPFError) {
        guard let map = maps.confirmedTemplates, var pass = templates.take() else { return }
        let now = try XDPDataPlane.tick(by: object.program(named: "tick"))
        let batch = try map.batch(after: pass.position, room: pass.room)
        var hasFreed = false
        for (key, template) in batch.entries {
            if maps.isOver(template, of: key, now: now), try remove(key, unlessUsedSince: template, from: map) {
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
            templates = pass
        }
    }

    /// Removes a template, unless its client has come back since it was read. Returns whether it is gone.
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

/// The sweep, and the freeing of the rows that it makes idle. It runs in parts, since a whole pass would block the
/// director.
extension XDPDataPlane {
    /// Does a whole pass at once.
    public func sweep() throws(BPFError) {
        sweepPass.abandon()
        let start = ContinuousClock.now
        while !isSwept(since: start) { try sweep(for: .seconds(1)) }
    }

    /// Does at least one run, and more until the time is over or the pass is complete. The next call then begins
    /// another pass.
    public func sweep(for time: Duration) throws(BPFError) {
        if try sweepPass.advance(for: time, by: object) { releaseIdleRows() }
    }

    /// Releases the rows of removed real servers without connections, of their services and of their paths. A row has
    /// to be idle for two whole passes, as a packet may just be recording a connection.
    private func releaseIdleRows() {
        let passes = sweepPass.completePasses
        for (service, address, id) in serverIDs.all where maps.servers[id].isRemoved {
            let load = maps.connectionCounts[id]
            guard load.active == 0, load.inactive == 0 else {
                idleSince[id] = nil
                continue
            }
            let since = idleSince[id] ?? passes
            idleSince[id] = since
            guard passes >= since + 2 else { continue }
            idleSince[id] = nil
            release(server: id, address, service: service)
        }
        let live = Set(services.values).union(serverIDs.services)
        for index in 1..<maps.services.count where !live.contains(index) { serviceRows.release(index) }
        pathTable.keep(serverAddresses)
    }

    /// Whether a pass that began at that time or later is complete. All entries that had expired by then are freed.
    public func isSwept(since start: ContinuousClock.Instant) -> Bool {
        sweepPass.lastCompleteStart.map { $0 >= start } ?? false
    }

    /// Whether half-open connections to the dead real server may still count as its own when it comes back at `end`.
    /// The sweep frees abandoned ones only while the server's row says that it is down.
    public func mayHoldAbandoned(server id: UInt32, until end: ContinuousClock.Instant) -> Bool {
        guard let start = downSince[Int(id)] else { return false }
        return !isSwept(since: min(start + Self.abandonment, end))
    }

    /// The idle time from which on an abandoned connection is certain to be freed. It is one tick more than in the
    /// packet program, as a stamp may be nearly a tick old.
    private static var abandonment: Duration {
        .nanoseconds(nanoseconds(ticks: Int(IPVSD_ABANDONED_TICKS + 1)))
    }
}

extension DirectorMaps {
    /// The number of confirmed templates at the daemon's last count, and their limit; nil where the map has no room for
    /// templates, as no service is persistent, and in an older data plane.
    var templateUse: (used: UInt32, limit: UInt32)? {
        guard let size = confirmedTemplates?.maxEntries, size > 1 else { return nil }
        return (tableLoad.field(\.templates_used).pointee, UInt32(size))
    }

    /// Whether a template has expired, or its service is no longer persistent, or its real server's row is free or
    /// another service's. `now`: the tick; nil: it is not known.
    func isOver(_ template: ipvsd_template, of key: ipvsd_template_key, now: UInt32?) -> Bool {
        guard Int(key.service) < services.count, Int(template.server) < servers.count else { return true }
        let persistence = services[Int(key.service)].persistence
        let server = servers[Int(template.server)]
        let age = now.map { Int32(bitPattern: $0 &- template.stamp) } ?? 0
        return persistence == 0 || age > Int32(bitPattern: persistence) || UInt32(server.service) != key.service
            || UInt32(server.flags) & IPVSD_SERVER_USED == 0
    }
}
