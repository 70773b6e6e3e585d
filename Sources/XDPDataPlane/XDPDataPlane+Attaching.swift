public import BPF
internal import Glibc
internal import PacketPrograms
internal import SystemCalls

/// The program on the interfaces, and under the names by which others find it.
extension XDPDataPlane {
    static func linkName(_ interface: Int32) -> String { "link-\(interface)" }

    /// The paths of all pinned links. Empty where there is no such directory. An error where it cannot be read: to go on without the
    /// links would leave the packets of their interfaces to a program whose maps are about to change.
    public static func linkPins(below directory: String) throws(BPFError) -> [String] {
        guard let names = File.list(directory) else {
            if errno == ENOENT { return [] }
            throw BPFError("list \(directory)", code: errno)
        }
        return names.filter { $0.hasPrefix("link-") }.sorted().map { "\(directory)/\($0)" }
    }

    public static func linkPin(directory: String, interface: Int32) -> String {
        "\(directory)/\(linkName(interface))"
    }

    /// Every map and program that is pinned, in the order it is made.
    public static func pins(directory: String) -> [String] {
        MapCatalogue.all.map { $0.pin(below: directory) }
            + MapCatalogue.all.filter { $0.size != nil }.map { $0.nextPin(below: directory) }
            + [programPin(directory: directory), tickPin(directory: directory), explainingPin(directory: directory)]
            + LayoutMigration.pins(below: directory)
    }

    /// The path of the packet program, for tools that look for it.
    static func programPin(directory: String) -> String { "\(directory)/director" }

    /// The program that tells the tick, for whoever reads the flow table.
    static func tickPin(directory: String) -> String { "\(directory)/tick" }

    /// The path of the program that says what becomes of a packet.
    static func explainingPin(directory: String) -> String { "\(directory)/\(ExplainingProgram.name)" }

    func linkPath(_ interface: Int32) -> String { Self.linkPin(directory: directory, interface: interface) }

    /// Puts the program on the interface: in place of the last daemon's without losing a packet, where that one is
    /// attached in the same mode.
    public func attach(interface: Int32, mode: XDPMode) throws(BPFError) {
        let program = try program()
        let link = try BPFLink(pinnedAt: linkPath(interface))
        if let link, try link.interface() == UInt32(interface),
            try XDPAttachment.of(interface: interface)?.mode == mode
        {
            try link.update(to: program)
            links[interface] = link
        } else {
            try link?.detach()
            unlink(linkPath(interface))
            let link = try program.attachXDP(interface: interface, mode: mode)
            try link.pin(at: linkPath(interface))
            links[interface] = link
        }
    }

    /// Before `publish()`, where one of several interfaces refuses: those that have this program get the published one again,
    /// whose tables are smaller where these have grown. Without one, nothing happens: what was attached is the caller's to
    /// take off.
    public func giveBack() {
        guard let published = try? BPFProgram(pinnedAt: Self.programPin(directory: directory)), !links.isEmpty else {
            return
        }
        for (interface, link) in links where (try? link.update(to: published)) != nil { links[interface] = nil }
        // One that keeps it goes on with these tables, and finds in the old ones what is not in them.
        guard let growth, links.isEmpty else { return }
        RowAllocator.waitForGrace()
        if growth.grown.contains(MapCatalogue.connectionCounts.map) {
            TableGrowth.addCounts(from: maps, since: growth.copiedCounts, to: growth.old)
        }
        if growth.grown.contains(MapCatalogue.flows.map) {
            TableGrowth.moveFlows(
                from: maps.flows, to: growth.old, now: (try? tick()).map { UInt16(truncatingIfNeeded: $0) })
        }
    }

    /// Once the program is attached: names it to whoever looks for it, and finishes what it means for tables that
    /// have grown. That takes a moment; packets pass meanwhile.
    public func publish() throws(BPFError) {
        if let growth {
            for map in growth.grown { try TableGrowth.publish(map, below: directory) }
            self.growth = nil
            // Until the last packet of the old program is through.
            RowAllocator.waitForGrace()
            for map in growth.grown { try map.growth.follow?(growth, maps) }
            if maps.isMigrating {
                TableGrowth.moveFlows(from: growth.old.flows, to: maps, now: UInt16(truncatingIfNeeded: try tick()))
                Self.forgetOldFlows(maps, below: directory)
                // Without the old table, which only this program still holds.
                let loaded = try Self.load(below: directory, sizes: Capacity.least.sizes, constants: constants)
                (object, explainingObject) = (loaded.object, loaded.explainingObject)
                for link in links.values { try link.update(to: program()) }
            }
        }
        try replacePin(Self.programPin(directory: directory), by: program())
        try replacePin(Self.tickPin(directory: directory), by: object.program(named: "tick"))
        let explainingPin = Self.explainingPin(directory: directory)
        switch explainingObject {
        case .success(let object): try replacePin(explainingPin, by: ExplainingProgram.program(of: object))
        // The last daemon's would go on explaining by the last daemon's tables.
        case .failure: unlink(explainingPin)
        }
    }

    /// What a daemon left that was killed while it moved flows, or after the last one.
    static func finishMove(of maps: DirectorMaps, below directory: String) throws(BPFError) {
        if maps.isMigrating, let old = maps.oldFlows {
            let now = try tick(below: directory).map { UInt16(truncatingIfNeeded: $0) }
            TableGrowth.moveFlows(from: old, to: maps, now: now)
        }
        if maps.isMigrating || (maps.oldFlows?.count ?? 0) > 1 { forgetOldFlows(maps, below: directory) }
    }

    private static func forgetOldFlows(_ maps: DirectorMaps, below directory: String) {
        maps.isMigrating = false
        unlink(MapCatalogue.oldFlows.map.pin(below: directory))
    }

    private func replacePin(_ path: String, by program: BPFProgram) throws(BPFError) {
        unlink(path)
        try program.pin(at: path)
    }

    public func isAttached(interface: Int32) throws(BPFError) -> Bool {
        let link = if let held = links[interface] { held } else { try BPFLink(pinnedAt: linkPath(interface)) }
        return try link?.interface() == UInt32(interface)
    }

    /// The program was taken off the interface.
    public func forgetAttachment(interface: Int32) { links[interface] = nil }
}
