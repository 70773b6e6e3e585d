internal import BPF
public import DataPlane
public import HostState
internal import Netlink
internal import SystemCalls

/// The state that a director left, as far as it shows without its journal. A start then keeps a data plane that
/// forwards, and a cleanup finds it.
extension XDPHost {
    /// Returns this instance's changes of the machine that are not among the journal's `changes`.
    public static func leftovers(_ instance: InstancePaths, besides changes: [Change]) throws -> [Change] {
        let pins = try pins(instance)
        let forgotten = pins.map(\.canonical).filter { !changes.contains($0) }
        let directory = instance.existingBPFDirectory().map { Change.directory(path: $0).canonical }
        var found = forgotten.isEmpty ? [] : [directory].compactMap(\.self).filter { !changes.contains($0) } + forgotten
        // A journal with the device also has the programs.
        if !namesCheckDevice(changes) { found += try devices(instance, hasPins: !pins.isEmpty) }
        return found
    }

    private static func namesCheckDevice(_ changes: [Change]) -> Bool {
        changes.contains { if case .link(let device) = $0 { device.name == CheckDevice.name } else { false } }
    }

    /// Whether a data plane of this instance may forward, with or without a daemon. True where the pins cannot be read.
    public static func hasDataPlane(_ instance: InstancePaths) -> Bool {
        (try? pins(instance))?.isEmpty != true
    }

    private static func pins(_ instance: InstancePaths) throws -> [Change] {
        guard let directory = instance.existingBPFDirectory() else { return [] }
        let pins = XDPDataPlane.pins(directory: directory).filter(File.exists).map { Change.pin(path: $0) }
        let attachments = try XDPDataPlane.linkPins(below: directory).map { Change.attachment(path: $0) }
        return pins + attachments
    }

    /// Returns ipvsd0, the programs of checks and of stray packets, and the qdiscs that were made for them. A network
    /// namespace has at most one ipvsd0, so the pair may be another instance's.
    private static func devices(_ instance: InstancePaths, hasPins: Bool) throws -> [Change] {
        let tree = try LinkTree()
        let device = tree.link(named: CheckDevice.name)
        guard isOurs(instance, device: device, in: tree, hasPins: hasPins) else { return [] }
        var found: [Change] = device.map { [.link(name: .init($0))] } ?? []
        let socket = try RouteSocket()
        for link in tree.all {
            let sides = try [BPFProgram.TrafficControlHook.Direction.ingress, .egress].map {
                ($0, try socket.filters(interface: link.index, ingress: $0 == .ingress))
            }
            let filters = sides.flatMap { direction, present in
                present.filter(isOurs).map {
                    Change.filter(
                        interface: .init(link), direction: direction, priority: $0.priority, handle: $0.handle)
                }
            }
            guard !filters.isEmpty else { continue }
            // A qdisc with nothing but these programs was made for them.
            if sides.allSatisfy({ $0.1.allSatisfy(isOurs) }) { found.append(.qdisc(interface: .init(link))) }
            found += filters
        }
        return found
    }

    private static func isOurs(_ filter: (priority: UInt32, handle: UInt32)) -> Bool {
        filter == (CheckPrograms.priority, CheckPrograms.handle)
            || filter == (StrayProgram.priority, StrayProgram.handle)
    }

    /// Whether the pair, or its programs without the pair, belong to this instance. The instance's maps name the
    /// device. Without maps, the pair's properties decide, unless another instance's journal has the pair.
    private static func isOurs(
        _ instance: InstancePaths, device: Link?, in tree: LinkTree, hasPins: Bool
    ) -> Bool {
        guard let device else { return hasPins }
        guard device.kind == "veth", let peer = tree.link(named: CheckDevice.peerName) else { return false }
        if hasPins {
            let directory = instance.existingBPFDirectory() ?? ""
            return (try? XDPDataPlane.fragmentingInterface(directory: directory)) == peer.index
        }
        let isElsewhere = instance.journalsBeside.contains { path in
            (try? ChangeJournal.read(path: path)).map(namesCheckDevice) ?? true
        }
        return !isElsewhere && CheckDevice.resemblesCheckDevice(device, peer)
    }

    // MARK: The pinned maps

    /// Reads the pinned maps, without a daemon; nil where there is no data plane.
    public static func stored(_ instance: InstancePaths) throws -> StoredDataPlane? {
        silenceLibbpf()
        guard let directory = instance.existingBPFDirectory(),
            let maps = try DirectorMaps(directory: directory, writable: false)
        else { return nil }
        let interfaces = try RouteSocket().links().map(\.index).filter {
            (try? BPFLink(pinnedAt: XDPDataPlane.linkPin(directory: directory, interface: $0))) != nil
        }
        return StoredDataPlane(
            snapshot: try DataPlaneSnapshot(of: maps, now: XDPDataPlane.tick(below: directory) ?? 0),
            interfaces: try report(interfaces), strays: try maps.strayPackets())
    }

    /// Opens the flow table, with or without a daemon; nil where there is no data plane.
    public static func flows(_ instance: InstancePaths) throws -> FlowScan? {
        silenceLibbpf()
        return try instance.existingBPFDirectory().flatMap { try FlowScan(directory: $0) }
    }

    /// Explains a packet without side effects, with or without a daemon; nil where there is no data plane. `egress` is
    /// the name of the interface by which the packet would leave.
    public static func decision(
        on packet: ExplainedPacket, _ instance: InstancePaths
    ) throws -> (decision: PacketDecision, egress: String?)? {
        silenceLibbpf()
        guard let directory = instance.existingBPFDirectory(),
            let decision = try explaining(below: directory, { try XDPDataPlane.decision(on: packet, below: directory) })
        else { return nil }
        return (decision, try decision.way.flatMap { try RouteSocket().link(index: $0.interface)?.name })
    }

    /// Runs `body` while no other process explains a packet.
    static func explaining<Result>(below directory: String, _ body: () throws -> Result) throws -> Result {
        guard let lock = try FileLock(directory: directory) else {
            throw DataPlaneError(.kernel, "explain a packet: another process has been explaining one for too long")
        }
        return try withExtendedLifetime(lock, body)
    }
}
