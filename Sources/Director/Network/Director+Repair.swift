internal import DataPlane
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// The director keeps what it put into the machine: what somebody takes away is put back, and told.
extension Director {
    /// What is known of the resources that checks go through, and of what was logged about all of them.
    struct Upkeep {
        var restorations = Restorations()
        /// When something of the check path was missing last.
        var pathWasBroken: ContinuousClock.Instant?
        /// The check path is not looked at before then, whatever fails.
        var looksNext: ContinuousClock.Instant
    }

    /// Every second.
    func repair() throws {
        guard let running, running.isForwarding else { return }
        attempt("list the interfaces") { followNames(in: running.journal, try network.links()) }
        for repairs in running.dataPlane.repair() { tell(repairs) }
        try keepAddresses()
    }

    /// Where the file cannot be written, the journal itself has the names.
    func followNames(in journal: ChangeJournal, _ links: [Link]) {
        attempt("follow the names of interfaces") { try journal.follow(links) }
    }

    /// Takes an interface that was made anew under its old name.
    func rejoinInterfaces() throws {
        guard let current = running, try current.dataPlane.rejoinInterfaces() else { return }
        // With a description of the interfaces.
        refreshPaths()
        try placeAddresses(journal: current.journal)
        announce()
    }

    /// Whether a check to which nobody answered says nothing about the real server: where a resource of the check path was
    /// missing while it was asked. Looked at now, as the failure may be the first to tell of it.
    func isOwnFault(_ round: Round) -> Bool {
        // Asked at the server's own address.
        if round.vip == nil { return false }
        let now = clock.now
        if now >= upkeep.looksNext, let running, running.isForwarding {
            tell(running.dataPlane.repairCheckPath())
            // Many may fail at a time.
            upkeep.looksNext = clock.now + max(.milliseconds(20), now.duration(to: clock.now) * 4)
        }
        // Answers may have waited for their turn.
        return upkeep.pathWasBroken.map { $0.duration(to: now) < round.timeout + .milliseconds(500) } ?? false
    }

    // MARK: Events and log

    /// Every service needs what a data plane repairs.
    func tell(_ repairs: Repairs) {
        for (resource, error) in repairs.failed { failed(resource, error) }
        tellRestored(repairs.restored) { _ in Set(repairs.restored) }
        if repairs.disturbedChecks { upkeep.pathWasBroken = clock.now }
    }

    /// `needed`: the resources that a service needs.
    func tellRestored(_ resources: [ManagedResource], needed: (ConfiguredService) -> Set<ManagedResource>) {
        let now = clock.now
        var news: [(resource: ManagedResource, text: String)] = []
        for resource in resources {
            switch upkeep.restorations.restored(resource, at: now) {
            case nil: continue
            case .restored?: news.append((resource, "\(resource)"))
            case .contested(let time)?:
                let end = "something else keeps it from staying; it is put back each time, without another word"
                news.append((resource, "\(resource) again, \(Self.rounded(time)) after the last time: \(end)"))
            }
        }
        guard !news.isEmpty else { return }
        for (_, text) in news { logger.warning("restored \(text)") }
        for service in configuration.services {
            let needed = needed(service)
            let told = news.filter { needed.contains($0.resource) }
            if told.isEmpty { continue }
            tell(.restored, of: service.address, reason: told.map(\.text).joined(separator: ", "))
        }
    }

    func failed(_ resource: ManagedResource, _ error: any Error) {
        if upkeep.restorations.failed(resource, "\(error)", at: clock.now) {
            logger.error("restore \(resource): \(error)")
        }
    }
}
