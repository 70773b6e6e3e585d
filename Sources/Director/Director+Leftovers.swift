internal import BPF
internal import DataPlane
public import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration
internal import SystemCalls

/// What a director left, as far as it can be known without its journal: then a start does not take away what forwards,
/// and a cleanup finds it.
extension Director {
    /// Of this instance, and not among the `changes` that its journal holds.
    public static func leftovers(_ instance: InstancePaths, besides changes: [Change]) throws -> [Change] {
        let pins = pins(instance)
        let forgotten = pins.map(\.canonical).filter { !changes.contains($0) }
        let directory = instance.existingBPFDirectory().map { Change.directory(path: $0).canonical }
        var found = forgotten.isEmpty ? [] : [directory].compactMap(\.self).filter { !changes.contains($0) } + forgotten
        // Whoever journalled the device journalled the programs, too.
        if !changes.contains(.link(name: CheckDevice.name)) { found += try devices(instance, hasPins: !pins.isEmpty) }
        return found
    }

    /// Journals them, in the order in which they were made.
    static func remember(_ instance: InstancePaths, in journal: ChangeJournal, logger: Logger) throws -> Bool {
        let found = try leftovers(instance, besides: journal.changes)
        guard !found.isEmpty else { return false }
        logger.warning(
            "a director left what \(instance.journal) does not name: \(found.map(\.description).joined(separator: ", "))"
        )
        for change in found { try journal.make(change) {} }
        return true
    }

    /// Whether something of this instance may forward, with or without a daemon.
    public static func hasDataPlane(_ instance: InstancePaths) -> Bool { !pins(instance).isEmpty }

    private static func pins(_ instance: InstancePaths) -> [Change] {
        guard let directory = instance.existingBPFDirectory() else { return [] }
        let pins = XDPDataPlane.pins(directory: directory).filter(File.exists).map { Change.pin(path: $0) }
        let attachments = XDPDataPlane.linkPins(below: directory).map { Change.attachment(path: $0) }
        return pins + attachments
    }

    /// ipvsd0 and the programs that carry checks: there is one of each in a network namespace.
    private static func devices(_ instance: InstancePaths, hasPins: Bool) throws -> [Change] {
        let tree = try LinkTree()
        let device = tree.link(named: CheckDevice.name)
        guard isOurs(instance, device: device, in: tree, hasPins: hasPins) else { return [] }
        var found: [Change] = device == nil ? [] : [.link(name: CheckDevice.name)]
        let socket = try RouteSocket()
        for link in tree.all {
            let sides = try [BPFProgram.TrafficControlHook.Direction.ingress, .egress].map {
                ($0, try socket.filters(interface: link.index, ingress: $0 == .ingress))
            }
            let filters = sides.flatMap { direction, present in
                present.filter(isOurs).map {
                    Change.filter(
                        interface: link.name, direction: direction, priority: $0.priority, handle: $0.handle)
                }
            }
            guard !filters.isEmpty else { continue }
            // One that has nothing else on it: nobody would have made it for themselves.
            if sides.allSatisfy({ $0.1.allSatisfy(isOurs) }) { found.append(.qdisc(interface: link.name)) }
            found += filters
        }
        return found
    }

    private static func isOurs(_ filter: (priority: UInt32, handle: UInt32)) -> Bool {
        filter == (CheckPrograms.priority, CheckPrograms.handle)
            || filter == (StrayProgram.priority, StrayProgram.handle)
    }

    /// Whether the pair, or what is left without it, is of this instance: by its maps, which name the device; without any,
    /// by the pair's looks, unless another instance that may be here has one in its journal.
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
            (try? ChangeJournal.read(path: path))?.contains(.link(name: CheckDevice.name)) ?? true
        }
        return !isElsewhere && CheckDevice.looksLikeOne(device, peer)
    }

    /// VIPs of the pinned services that are still on an interface: without a journal nobody knows who put them there.
    static func addressesInDoubt(_ instance: InstancePaths) -> [String] {
        guard let status = try? pinnedStatus(instance: instance)?.status, let tree = try? LinkTree(),
            let addresses = try? RouteSocket().addresses()
        else { return [] }
        let vips = Set(status.services.flatMap(\.listeners).map(\.vip))
        return addresses.filter { vips.contains($0.address) && $0.prefixLength == 32 }.compactMap { entry in
            tree.link(index: entry.interface).map { "ip addr del \(entry.address)/32 dev \($0.name)" }
        }
    }
}
