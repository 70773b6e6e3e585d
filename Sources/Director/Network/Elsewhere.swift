internal import BPF
internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Netlink

/// The interfaces that the packet program is not on. What comes in there for a VIP reaches this machine's own stack.
final class Elsewhere {
    private let program: StrayProgram
    private let journal: ChangeJournal
    /// Interfaces that this process has put the program on.
    private var attached: Set<Int32> = []

    init(directory: String, journal: ChangeJournal) throws {
        program = try StrayProgram(directory: directory)
        self.journal = journal
    }

    /// Those of the tree.
    static func links(_ ingress: [Ingress], in tree: LinkTree) -> [Link] {
        let taken = devices(ingress)
        return tree.all.filter { link in
            link.isEthernet && !link.noARP && tree.isWhole(link)
                && ![CheckDevice.name, CheckDevice.peerName].contains(link.name) && !tree.isReached(link, by: taken)
        }
    }

    private static func devices(_ ingress: [Ingress]) -> Set<Int32> {
        Set((ingress.map(\.link) + ingress.devices + ingress.members).map(\.index))
    }

    /// Where packets are to be counted, and whether ARP requests for the VIP are to get no answer there. `isOurs`: the
    /// director puts the VIPs on interfaces. `forwards`: the machine is a router for what comes in by the link; a VIP that
    /// it does not have may be another director's.
    static func places(
        _ links: [Link], vips: Set<IPv4Address>, isOurs: Bool, ingress: [Ingress], in tree: LinkTree,
        addresses: [InterfaceAddress], forwards: (Link) -> Bool
    ) -> [StrayPlace: Bool] {
        let taken = devices(ingress)
        let holders = Dictionary(grouping: addresses.filter { vips.contains($0.address) }, by: \.address)
            .mapValues { $0.compactMap { tree.link(index: $0.interface) } }
        let routed = Set(links.filter(forwards).map(\.index))
        var places: [StrayPlace: Bool] = [:]
        for vip in vips {
            // Somebody else wants it answered for on one of these.
            let isKept = holders[vip]?.contains { $0.isEthernet && !tree.isReached($0, by: taken) } ?? false
            let isLocal = isOurs || holders[vip] != nil
            for link in links where isLocal || !routed.contains(link.index) {
                places[StrayPlace(interface: link.index, vip: vip)] = isLocal && !isKept
            }
        }
        return places
    }

    /// What became of the program on an interface.
    enum Outcome {
        /// Somebody had taken it off, and it is there again.
        case restored
        case failed(any Error)
    }

    /// Puts the program on all of these, and takes it off all others.
    func cover(_ links: [Link]) throws -> [(link: Link, outcome: Outcome)] {
        let socket = try RouteSocket()
        let names = Set(links.map(\.name))
        let former = journal.interfacesOfPrograms(priority: StrayProgram.priority).subtracting(names)
        try former.sorted().forEachDespiteErrors {
            try journal.undoPrograms(priority: StrayProgram.priority, on: $0)
        }
        attached.formIntersection(links.map(\.index))
        return links.compactMap { link in
            do {
                let wasAttached = attached.contains(link.index)
                if wasAttached, try isThere(on: link, socket) { return nil }
                try attach(to: link, socket)
                return wasAttached ? (link, .restored) : nil
            } catch { return (link, .failed(error)) }
        }
    }

    private func isThere(on link: Link, _ socket: RouteSocket) throws -> Bool {
        try socket.filters(interface: link.index, ingress: true).contains {
            $0 == (StrayProgram.priority, StrayProgram.handle)
        }
    }

    private func attach(to link: Link, _ socket: RouteSocket) throws {
        let hook = BPFProgram.TrafficControlHook(
            interface: link.index, direction: .ingress, priority: StrayProgram.priority, handle: StrayProgram.handle)
        if try !socket.hasClsact(interface: link.index) {
            try journal.make(.qdisc(interface: link.name)) { _ = try hook.createQdisc() }
        }
        try journal.make(
            .filter(interface: link.name, direction: .ingress, priority: hook.priority, handle: hook.handle)
        ) {
            try program.attach(interface: link.index)
        }
        attached.insert(link.index)
    }
}

extension ChangeJournal {
    /// The interfaces on which tc programs of that priority were put.
    func interfacesOfPrograms(priority: UInt32) -> Set<String> {
        Set(
            changes.compactMap { change in
                if case .filter(let interface, _, priority, _) = change { interface } else { nil }
            })
    }

    /// Takes the tc programs of that priority off an interface, nil: off all, with qdiscs that were made for them.
    func undoPrograms(priority: UInt32, on interface: String? = nil) throws {
        try changes.reversed().forEachDespiteErrors { change in
            guard case .filter(let name, _, priority, _) = change, interface == nil || name == interface else { return }
            try undo(change)
            let isInUse = changes.contains { if case .filter(name, _, _, _) = $0 { true } else { false } }
            if !isInUse { try undo(.qdisc(interface: name)) }
        }
    }
}
