public import Addresses
public import BPF
internal import CLinux
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms
internal import SystemCalls

/// The program's attachments and pins.
extension XDPDataPlane {
    private static func linkName(_ interface: Int32) -> String { "link-\(interface)" }

    /// Returns the paths of all pinned links; none where there is no such directory. Throws where the directory cannot
    /// be read. An interface whose link is missed would keep a program whose maps are about to change.
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

    /// Returns the pins of all maps and programs, in the order in which they are made.
    public static func pins(directory: String) -> [String] {
        MapCatalogue.all.map { $0.pin(below: directory) }
            + MapCatalogue.all.filter { $0.size != nil }.map { $0.nextPin(below: directory) }
            + [programPin(directory: directory), tickPin(directory: directory), explainingPin(directory: directory)]
            + LayoutMigration.pins(below: directory)
    }

    /// Returns the path of the packet program.
    static func programPin(directory: String) -> String { "\(directory)/director" }

    /// Returns the path of the program that returns the tick, for readers of the flow table.
    static func tickPin(directory: String) -> String { "\(directory)/tick" }

    /// Returns the path of the explaining program.
    static func explainingPin(directory: String) -> String { "\(directory)/\(ExplainingProgram.name)" }

    private func linkPath(_ interface: Int32) -> String { Self.linkPin(directory: directory, interface: interface) }

    /// Attaches the program to the interface. Where the last daemon's program has the same mode, it is replaced without
    /// losing a packet.
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

    /// Gives the interfaces the published program again, after one of several has refused the new program before
    /// `publish()`. The published program's tables may be smaller. Without a published program nothing happens, and the
    /// caller detaches the new one.
    public func reattachPublished() {
        guard let published = try? BPFProgram(pinnedAt: Self.programPin(directory: directory)), !links.isEmpty else {
            return
        }
        for (interface, link) in links where (try? link.update(to: published)) != nil { links[interface] = nil }
        // Where an interface keeps the new program, that program keeps the new tables, and also searches the old ones.
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

    /// Publishes the attached program by its pins, and finishes the growth of its tables. Packets pass meanwhile.
    public func publish() throws(BPFError) {
        if let growth {
            for map in growth.grown { try TableGrowth.publish(map, below: directory) }
            self.growth = nil
            // The last packet of the old program has to be through.
            RowAllocator.waitForGrace()
            for map in growth.grown { try map.growth.catchUp?(growth, maps) }
            if maps.isMigrating {
                TableGrowth.moveFlows(from: growth.old.flows, to: maps, now: UInt16(truncatingIfNeeded: try tick()))
                Self.dropOldFlows(maps, below: directory)
                // The old flow table is freed with the program that holds it, so the program is loaded again.
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
        // The last daemon's program would explain decisions by its own tables.
        case .failure: unlink(explainingPin)
        }
    }

    /// Finishes the move of flows, where a daemon was killed during the move or after it.
    static func finishMove(of maps: DirectorMaps, below directory: String) throws(BPFError) {
        if maps.isMigrating, let old = maps.oldFlows {
            let now = try tick(below: directory).map { UInt16(truncatingIfNeeded: $0) }
            TableGrowth.moveFlows(from: old, to: maps, now: now)
        }
        if maps.isMigrating || (maps.oldFlows?.count ?? 0) > 1 { dropOldFlows(maps, below: directory) }
    }

    private static func dropOldFlows(_ maps: DirectorMaps, below directory: String) {
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

    /// Drops the link of an interface from which the program was detached.
    public func forgetAttachment(interface: Int32) { links[interface] = nil }
}

/// The loading of the program and its tables. Pinned tables are reused where they are large enough.
extension XDPDataPlane {
    /// Returns the constants of a program. `load` sets the masks and the shift, which depend on the tables.
    static func constants(
        answersByRedirect: Bool, repliesPerSecond: UInt32, traits: PacketTraits
    ) -> ipvsd_director_constants {
        ipvsd_director_constants(
            bucket_mask: 0, old_bucket_mask: 0, listener_shift: 0, answer_by_redirect: answersByRedirect ? 1 : 0,
            reply_limit: repliesPerSecond, jiffy: jiffy,
            several_ingress: traits.hasSeveralIngress ? 1 : 0,
            outer_prefix: traits.outerSources?.address.bigEndian ?? 0,
            outer_mask: (traits.outerSources?.hostMask ?? 0).bigEndian, is_rekeying: 0)
    }

    /// The resolution of the kernel's coarse clocks in nanoseconds, which is the period of its timer.
    private static var jiffy: UInt32 {
        var resolution = timespec()
        clock_getres(CLOCK_MONOTONIC_COARSE, &resolution)
        return UInt32(resolution.tv_nsec)
    }

    /// Loads the explaining program, or returns the error for `explain`, as forwarding does not depend on the program.
    private static func explainingObject(
        beside object: BPFObject, constants: ipvsd_director_constants
    ) -> Result<BPFObject, BPFError> {
        do throws(BPFError) {
            return .success(try ExplainingProgram.load(beside: object, constants: constants))
        } catch { return .failure(error) }
    }

    /// Loads the packet program and the explaining program over the same maps. `grown` has the maps that are replaced
    /// by larger ones. `places` says where the other maps are.
    static func load(
        below directory: String, sizes: [PinnedMap: Int], constants: ipvsd_director_constants,
        places: PinPlaces = .pinned
    ) throws(BPFError) -> (object: BPFObject, explainingObject: Result<BPFObject, BPFError>, grown: Set<PinnedMap>) {
        let (flows, oldFlows) = (MapCatalogue.flows.map, MapCatalogue.oldFlows.map)
        let object = try BPFObject(.director)
        var grown: Set<PinnedMap> = []
        var growing: [String] = []
        var former: BPFDescriptor?
        // A table never becomes smaller.
        var chosen = sizes
        for (map, wanted) in sizes {
            let pinned = try BPFDescriptor(pinnedAt: places.path(of: map, below: directory))
            let present = try pinned?.maxEntries() ?? 0
            chosen[map] = max(wanted, present)
            try object.setMaxEntries(max(wanted, present), ofMap: map.name)
            if let pinned, present < wanted {
                grown.insert(map)
                growing.append("\(map.name) has \(present) rows, \(wanted) are wanted")
                if map == flows { former = pinned }
            }
        }
        for map in MapCatalogue.all where !(map == oldFlows && former != nil) {
            let path = grown.contains(map) ? map.nextPin(below: directory) : places.path(of: map, below: directory)
            // libbpf refuses to reuse a pinned devmap by path, as the kernel adds BPF_F_RDONLY_PROG to its flags.
            if map == MapCatalogue.egress.map, let pinned = try BPFDescriptor(pinnedAt: path) {
                try object.reuse(descriptor: pinned.number, forMap: map.name)
            } else {
                try object.setPinPath(path, ofMap: map.name)
            }
        }
        if let former { try object.reuse(descriptor: former.number, forMap: oldFlows.name) }
        var constants = constants
        constants.bucket_mask = UInt32((chosen[flows] ?? 1) - 1)
        constants.old_bucket_mask = UInt32((try former?.maxEntries() ?? 1) - 1)
        constants.listener_shift = ListenerTable.shift(buckets: chosen[MapCatalogue.listenerCache.map] ?? 1)
        try object.setReadOnlyData(constants)
        do { try object.load() } catch {
            guard error.code == ENOMEM, !growing.isEmpty else { throw error }
            throw BPFError(
                "load tables that are larger (\(growing.sorted().joined(separator: ", "))): free memory, or name fewer new "
                    + "services and real servers at once", code: ENOMEM)
        }
        return (object, explainingObject(beside: object, constants: constants), grown)
    }
}

/// The repair of pins. A pin lets a map, program or link outlive the daemon. This process holds all of them, so that a
/// removed pin can be made again.
extension XDPDataPlane {
    /// The names of missing pins below `directory`.
    public var missingPins: [String] {
        let explaining = explainingRefusal == nil ? [ExplainingProgram.name] : []
        let names = MapCatalogue.all.map(\.pin) + ["director", "tick"] + explaining
        let attachments = links.filter { !File.exists(linkPath($0.key)) && isAlive($0.value, on: $0.key) }
        return names.filter { !File.exists("\(directory)/\($0)") } + attachments.keys.sorted().map(Self.linkName)
    }

    /// Pins one of `missingPins` again.
    public func restorePin(_ name: String) throws(BPFError) {
        let path = "\(directory)/\(name)"
        if let map = MapCatalogue.all.first(where: { $0.pin == name }) {
            try object.pin(map: map.name, at: path)
        } else if let link = links.first(where: { Self.linkName($0.key) == name })?.value {
            try link.pin(at: path)
        } else if name == ExplainingProgram.name {
            try ExplainingProgram.program(of: explainingObject.get()).pin(at: path)
        } else {
            try object.program(named: name).pin(at: path)
        }
    }

    /// Whether the link's device still exists.
    private func isAlive(_ link: BPFLink, on interface: Int32) -> Bool {
        (try? link.interface()) == UInt32(interface)
    }
}

/// Properties of the set-up that are compiled into the packet program as constants.
public struct PacketTraits: Sendable {
    /// Whether the program is attached to more than one device, or to a port of a bridge.
    public var hasSeveralIngress: Bool
    /// The prefix of outer sources, which vary by flow; nil: each path's own source address.
    public var outerSources: IPv4Prefix?

    public init(hasSeveralIngress: Bool = false, outerSources: IPv4Prefix? = nil) {
        self.hasSeveralIngress = hasSeveralIngress
        self.outerSources = outerSources
    }
}

/// The director's programs that packets pass now. During a swap, one interface may already have the next program. That
/// program is pinned after all interfaces have it.
public struct RunningPrograms: Equatable, Sendable {
    /// The program ids, by the index of the interface.
    public var programs: [UInt32: UInt32]

    /// Reads the links that are pinned below `directory`.
    public init(directory: String) throws(BPFError) {
        programs = [:]
        for path in try XDPDataPlane.linkPins(below: directory) {
            guard let link = try BPFLink(pinnedAt: path) else { continue }
            let interface = try link.interface()
            // The index is 0 where the device is gone.
            if interface != 0 { programs[interface] = try link.programID() }
        }
    }

    public var interfaces: [UInt32] { programs.keys.sorted() }
    public var ids: Set<UInt32> { Set(programs.values) }
}
