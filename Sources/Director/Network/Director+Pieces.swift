internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// The director keeps what it put into the machine: what somebody takes away is put back, and told.
extension Director {
    /// What is known of the pieces that checks go through, and of what was said about all of them.
    struct Upkeep {
        var restorations = Restorations()
        /// When something of the check path was missing last.
        var pathWasBroken: ContinuousClock.Instant?
        /// The check path is not looked at before then, whatever fails.
        var looksNext = ContinuousClock.now
        /// When packets that came in past the packet program were spoken of last.
        var straysTold: [StrayPlace: ContinuousClock.Instant] = [:]
    }

    /// Every second.
    func keepPieces() throws {
        guard running?.isForwarding == true else { return }
        keepPins()
        let tree = try LinkTree()
        let socket = try RouteSocket()
        let addresses = try socket.addresses()
        keepCheckPath(tree, addresses)
        keepAddresses(tree, addresses, by: socket)
        watchElsewhere(tree, addresses)
    }

    // MARK: Pins

    /// What was pinned goes on without its pin, but only as long as this process does.
    func keepPins() {
        guard let current = running else { return }
        let missing = current.dataPlane.missingPins
        guard !missing.isEmpty else { return }
        let piece = Piece.pins(missing)
        do {
            // The directory may have gone with them, and bpffs itself.
            _ = try instance.bpfDirectory(journal: current.journal)
            try missing.forEachDespiteErrors { name in
                let path = "\(current.dataPlane.directory)/\(name)"
                let change: Change = name.hasPrefix("link-") ? .attachment(path: path) : .pin(path: path)
                try current.journal.make(change) { try current.dataPlane.restorePin(name) }
            }
            told([piece]) { _ in { _ in true } }
        } catch { failed(piece, error) }
    }

    // MARK: VIPs

    private func keepAddresses(_ tree: LinkTree, _ addresses: [InterfaceAddress], by socket: RouteSocket) {
        guard configuration.managesAddress, let current = running else { return }
        // Just those that it put there: another holder, such as keepalived, takes its own away when it likes.
        var homes: [IPv4Address: String] = [:]
        for case .address(let interface, let vip, _, _) in current.journal.changes { homes[vip] = interface }
        // One that a replacement of its scope has left there is nowhere else.
        let refuge = current.checkDevice.peer.index
        let present = addresses.filter { $0.interface != refuge }.map(\.address)
        let missing = configuration.vips.intersection(homes.keys).subtracting(present)
        var restored: [Piece] = []
        for vip in missing.sorted() {
            guard let link = homes[vip].flatMap(tree.link(named:)) else { continue }
            let piece = Piece.address(vip, interface: link.name)
            do {
                try current.journal.make(.address(interface: link.name, address: vip, prefixLength: 32)) {
                    try VIPScope.place(vip, on: link, by: socket)
                }
                try socket.removeAddress(vip, prefixLength: 32, from: refuge)
                restored.append(piece)
            } catch { failed(piece, error) }
        }
        guard !restored.isEmpty else { return }
        announce()
        told(restored) { service in
            let vips = Set(service.listeners.map(\.vip))
            return { if case .address(let vip, _) = $0 { vips.contains(vip) } else { false } }
        }
    }

    // MARK: The check path

    /// Whether a check to which nobody answered says nothing about the real server: where a piece of the check path was
    /// missing while it was asked. Looked at now, as the failure may be the first to tell of it.
    func isOwnFault(_ round: Round) -> Bool {
        // Asked at the server's own address.
        if round.vip == nil { return false }
        let now = ContinuousClock.now
        if now >= upkeep.looksNext, running?.isForwarding == true {
            do { keepCheckPath(try LinkTree(), try RouteSocket().addresses()) } catch { failed(.checkDevice, error) }
            // Many may fail at a time.
            upkeep.looksNext = .now + max(.milliseconds(20), now.duration(to: .now) * 4)
        }
        // Answers may have waited for their turn.
        return upkeep.pathWasBroken.map { $0.duration(to: now) < round.timeout + .milliseconds(500) } ?? false
    }

    private func keepCheckPath(_ tree: LinkTree, _ addresses: [InterfaceAddress]) {
        guard let current = running else { return }
        let missing: [Piece]
        do {
            missing = try current.checkDevice.missing(
                in: tree, addresses, listening: current.listening, unseen: failed)
            if missing.isEmpty { return }
        } catch {
            return failed(.checkDevice, error)
        }
        do {
            if try !current.checkDevice.restore(missing, in: tree) { try remakeCheckDevice(tree) }
            told(missing) { _ in { _ in true } }
        } catch {
            // Others may be there again all the same.
            let left = Set((try? leftMissing(of: current)) ?? missing)
            for piece in left { failed(piece, error) }
            told(missing.filter { !left.contains($0) }) { _ in { _ in true } }
        }
        let answering = interfacesOfExpectedAnswers(tree)
        if missing.contains(where: { CheckDevice.takesPartInChecks($0, answering: answering) }) {
            upkeep.pathWasBroken = .now
        }
    }

    /// Those of the routes to real servers, and those of the VIPs.
    private func interfacesOfExpectedAnswers(_ tree: LinkTree) -> Set<String> {
        guard let current = running else { return [] }
        let servers = current.dataPlane.serverAddresses.union(configuration.serverAddresses)
        let routed = servers.compactMap { current.dataPlane.path(to: $0)?.routeInterface }
        return Set((routed + current.ingress.map(\.link.index)).compactMap { tree.link(index: $0)?.name })
    }

    private func leftMissing(of current: Running) throws -> [Piece] {
        try current.checkDevice.missing(
            in: try LinkTree(), try RouteSocket().addresses(), listening: current.listening, unseen: { _, _ in })
    }

    private func remakeCheckDevice(_ tree: LinkTree) throws {
        guard let current = running else { return }
        guard let directory = instance.existingBPFDirectory() else {
            throw DirectorError(.kernel, "find the data plane's maps on bpffs: they are gone")
        }
        try useCheckDevice(below: directory, checks: current.checkDevice.takesChecks)
        try current.listening.forEachDespiteErrors { try listen(on: $0) }
    }

    // MARK: What is said

    /// `concerns`: which of the pieces a service needs.
    func told(_ pieces: [Piece], concerns: (VirtualService) -> (Piece) -> Bool) {
        let now = ContinuousClock.now
        var news: [(piece: Piece, text: String)] = []
        for piece in pieces {
            switch upkeep.restorations.restored(piece, at: now) {
            case nil: continue
            case .restored?: news.append((piece, "\(piece)"))
            case .contested(let time)?:
                let end = "something else keeps it from staying; it is put back each time, without another word"
                news.append((piece, "\(piece) again, \(Self.rounded(time)) after the last time: \(end)"))
            }
        }
        guard !news.isEmpty else { return }
        for (_, text) in news { logger.warning("restored \(text)") }
        for service in configuration.services {
            let needed = news.filter { concerns(service)($0.piece) }
            if needed.isEmpty { continue }
            tell(.restored, of: service.address, reason: needed.map(\.text).joined(separator: ", "))
        }
    }

    func failed(_ piece: Piece, _ error: any Error) {
        if upkeep.restorations.failed(piece, "\(error)", at: .now) { logger.error("restore \(piece): \(error)") }
    }
}
