public import Addresses
public import BPF
internal import CLinux
internal import Glibc
internal import LoadBalancing
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

/// The program and its tables: those that are pinned, where they are large enough, else new ones.
extension XDPDataPlane {
    /// What a program is made with. The masks and the shift are of its tables.
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

    /// Nanoseconds between two ticks of the kernel's timer: what its coarse clocks count in.
    private static var jiffy: UInt32 {
        var resolution = timespec()
        clock_getres(CLOCK_MONOTONIC_COARSE, &resolution)
        return UInt32(resolution.tv_nsec)
    }

    /// Forwarding does not depend on it: a refusal is kept for those who ask for an explanation.
    private static func explainingObject(
        beside object: BPFObject, constants: ipvsd_director_constants
    ) -> Result<BPFObject, BPFError> {
        do throws(BPFError) {
            return .success(try ExplainingProgram.load(beside: object, constants: constants))
        } catch { return .failure(error) }
    }

    /// The objects, loaded over the same maps, and the maps that they have anew and larger. `places`: where maps are that no larger
    /// one is made for.
    static func load(
        below directory: String, sizes: [PinnedMap: Int], constants: ipvsd_director_constants,
        places: PinPlaces = .pinned
    ) throws(BPFError) -> (object: BPFObject, explainingObject: Result<BPFObject, BPFError>, grown: Set<PinnedMap>) {
        let (flows, oldFlows) = (MapCatalogue.flows.map, MapCatalogue.oldFlows.map)
        let object = try BPFObject(.director)
        var grown: Set<PinnedMap> = []
        var growing: [String] = []
        var former: BPFDescriptor?
        // Never smaller than they are.
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
            // libbpf takes a pinned devmap for another one: the kernel adds BPF_F_RDONLY_PROG to its flags.
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

/// What is pinned, so that it outlives the daemon. This process holds it too: a pin that somebody removed takes nothing with
/// it, and can be made again.
extension XDPDataPlane {
    /// The names, below `directory`, of what is held and no longer pinned.
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

    /// Not once its device is gone.
    private func isAlive(_ link: BPFLink, on interface: Int32) -> Bool {
        (try? link.interface()) == UInt32(interface)
    }
}

/// What the packet program is loaded with, so that it asks nothing that is known beforehand.
public struct PacketTraits: Sendable {
    /// It is attached to more than one device, or to one that is a port of several.
    public var hasSeveralIngress: Bool
    /// The outer source is one of these, by the flow; nil: the director's own address.
    public var outerSources: IPv4Prefix?

    public init(hasSeveralIngress: Bool = false, outerSources: IPv4Prefix? = nil) {
        self.hasSeveralIngress = hasSeveralIngress
        self.outerSources = outerSources
    }
}

/// The director's programs that packets pass now. Usually it is one; while programs are swapped, one interface may
/// already have the next, which is not pinned before all have it.
public struct RunningPrograms: Equatable, Sendable {
    /// By the index of the interface.
    public var programs: [UInt32: UInt32]

    /// Those whose links are pinned below `directory`.
    public init(directory: String) throws(BPFError) {
        programs = [:]
        for path in try XDPDataPlane.linkPins(below: directory) {
            guard let link = try BPFLink(pinnedAt: path) else { continue }
            let interface = try link.interface()
            // 0: the device is gone.
            if interface != 0 { programs[interface] = try link.programID() }
        }
    }

    public var interfaces: [UInt32] { programs.keys.sorted() }
    public var ids: Set<UInt32> { Set(programs.values) }
}
