public import BPF
internal import PacketPrograms

/// A pass of the sweep over the whole flow table and all confirmed templates, in runs that go on one where the other
/// stopped.
struct SweepPass {
    /// The bucket that the next run over the flow table begins with; nil: that part of the pass is over.
    var next: Int?
    /// Nil: that part of the pass is over.
    var templates: TemplatePass?
    var began = ContinuousClock.now
    var isRunning: Bool { next != nil || templates != nil }
    /// When the last complete one began.
    var completeSince: ContinuousClock.Instant?
}

/// The sweep frees expired flows and templates, then the rows that this makes idle: in many short runs, as one would keep a
/// CPU from other tasks; and in parts, as one would keep the director from everything else.
extension XDPDataPlane {
    /// A whole pass at once.
    public func sweep() throws(BPFError) {
        (sweepPass.next, sweepPass.templates) = (nil, nil)
        let start = ContinuousClock.now
        while !isSwept(since: start) { try sweep(for: .seconds(1)) }
    }

    /// One run at least, and more until that time is over or the pass is complete. The part after that begins another
    /// pass.
    public func sweep(for time: Duration) throws(BPFError) {
        let program = try sweepProgram()
        let start = ContinuousClock.now
        if !sweepPass.isRunning {
            sweepPass.next = 0
            sweepPass.templates = maps.confirmedTemplates == nil ? nil : TemplatePass()
            sweepPass.began = start
        }
        repeat {
            if let first = sweepPass.next {
                var run = ipvsd_sweep_run(first: UInt32(first))
                try program.run(on: &run)
                let next = first + Int(IPVSD_SWEEP_BUCKETS)
                sweepPass.next = next < maps.flows.count ? next : nil
            } else {
                try freeSomeTemplates()
            }
        } while sweepPass.isRunning && ContinuousClock.now - start < time
        guard !sweepPass.isRunning else { return }
        sweepPass.completeSince = sweepPass.began
        sweeps += 1
        releaseIdleRows()
    }

    /// Gives back the rows of removed real servers that no connection has held for two whole sweeps (a packet may be
    /// about to record one), and of services without any.
    private func releaseIdleRows() {
        for (service, address, id) in serverIDs.all
        where maps.servers[id].isRemoved {
            let load = maps.connectionCounts[id]
            guard load.active == 0, load.inactive == 0 else {
                idleSince[id] = nil
                continue
            }
            let since = idleSince[id] ?? sweeps
            idleSince[id] = since
            guard sweeps >= since + 2 else { continue }
            idleSince[id] = nil
            release(server: id, address, service: service)
        }
        let live = Set(services.values).union(serverIDs.services)
        for index in 1..<maps.services.count where !live.contains(index) { serviceRows.release(index) }
        let addresses = serverAddresses
        for (address, row) in pathIDs where !addresses.contains(address) {
            pathRows.release(row)
            pathIDs[address] = nil
            paths[address] = nil
        }
        outerIDsOfLostPaths = outerIDsOfLostPaths.filter { addresses.contains($0.key) }
    }

    /// A pass that began then or later is complete: what had expired by then is gone.
    public func isSwept(since start: ContinuousClock.Instant) -> Bool {
        sweepPass.completeSince.map { $0 >= start } ?? false
    }

    /// Whether half-open connections that died with the real server may still count as its own, when it comes back at
    /// `end`: the sweep frees them as soon as they are abandoned, but only while the row says that it is down.
    public func mayHoldAbandoned(server id: UInt32, until end: ContinuousClock.Instant) -> Bool {
        guard let start = downSince[Int(id)] else { return false }
        return !isSwept(since: min(start + Self.abandonment, end))
    }

    /// A tick more: a stamp may be nearly a tick old.
    private static var abandonment: Duration {
        .nanoseconds(nanoseconds(ticks: Int(IPVSD_ABANDONED_TICKS + 1)))
    }
}
