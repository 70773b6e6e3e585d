internal import Addresses
internal import BPF
internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink

/// The interfaces without the packet program. Packets for a VIP that come in there reach this machine's own stack.
final class Elsewhere {
    private let program: StrayProgram
    private let journal: ChangeJournal
    /// The interfaces to which this process has attached the program.
    private var attached: Set<Int32> = []

    init(directory: String, journal: ChangeJournal) throws {
        program = try StrayProgram(directory: directory)
        self.journal = journal
    }

    /// Returns the links that get the stray program. A link below one of the director's own interfaces, such as that
    /// below a macvlan, gets none. There the program would drop the interface's ARP requests.
    static func links(_ ingress: [Ingress], in tree: LinkTree) -> [Link] {
        let taken = devices(ingress).compactMap(tree.link(index:))
        return others(ingress, in: tree).filter { link in !taken.contains { tree.isReached($0, by: [link.index]) } }
    }

    /// Returns all links by which packets reach the machine's own stack past the packet program.
    static func others(_ ingress: [Ingress], in tree: LinkTree) -> [Link] {
        let taken = devices(ingress)
        return tree.all.filter { link in
            link.isEthernet && !link.noARP && tree.isWhole(link)
                && ![CheckDevice.name, CheckDevice.peerName].contains(link.name) && !tree.isReached(link, by: taken)
        }
    }

    private static func devices(_ ingress: [Ingress]) -> Set<Int32> {
        Set((ingress.map(\.link) + ingress.devices + ingress.members).map(\.index))
    }

    /// Returns the places at which packets are counted. Where a place's value is true, ARP requests for the VIP get no
    /// answer there. `isOurs`: the director puts the VIPs on interfaces. `forwards`: the machine routes packets of the
    /// link. A VIP that the machine does not have may then be another director's, and its packets are not counted.
    static func places(
        _ links: [Link], vips: Set<IPAddress>, isOurs: Bool, addresses: [InterfaceAddress], forwards: (Link) -> Bool
    ) -> [StrayPlace: Bool] {
        let holders = Dictionary(grouping: addresses.filter { vips.contains($0.address) }, by: \.address)
            .mapValues { Set($0.map(\.interface)) }
        let watched = Set(links.map(\.index))
        let routed = Set(links.filter(forwards).map(\.index))
        var places: [StrayPlace: Bool] = [:]
        for vip in vips {
            // The VIP was put on one of these interfaces on purpose, so ARP is answered.
            let isKept = holders[vip].map { !$0.isDisjoint(with: watched) } ?? false
            let isLocal = isOurs || holders[vip] != nil
            for link in links where isLocal || !routed.contains(link.index) {
                places[StrayPlace(interface: link.index, vip: vip)] = isLocal && !isKept
            }
        }
        return places
    }

    /// The result of an attempt to put the program on an interface.
    enum Outcome {
        /// The program had been removed, and is attached again.
        case restored
        case failed(any Error)
    }

    /// Attaches the program to all of these links that are up, and detaches it from all others. An error on one link
    /// does not affect the others.
    func cover(_ links: [Link]) throws -> [(interface: String, outcome: Outcome)] {
        let socket = try RouteSocket()
        var outcomes: [(interface: String, outcome: Outcome)] = []
        attached.formIntersection(links.map(\.index))
        for interface in journal.interfacesOfPrograms(priority: StrayProgram.priority)
        where interface.find(among: links) == nil {
            do { try journal.undoPrograms(priority: StrayProgram.priority, on: interface) } catch {
                outcomes.append((interface.name, .failed(error)))
            }
        }
        for link in links where link.isUp {
            do {
                let wasAttached = attached.contains(link.index)
                if wasAttached, try isThere(on: link, socket) { continue }
                try attach(to: link, socket)
                if wasAttached { outcomes.append((link.name, .restored)) }
            } catch { outcomes.append((link.name, .failed(error))) }
        }
        return outcomes
    }

    private func isThere(on link: Link, _ socket: RouteSocket) throws -> Bool {
        try socket.filters(interface: link.index, ingress: true).contains {
            $0 == (StrayProgram.priority, StrayProgram.handle)
        }
    }

    private func attach(to link: Link, _ socket: RouteSocket) throws {
        let hook = BPFProgram.TrafficControlHook(
            interface: link.index, direction: .ingress, priority: StrayProgram.priority, handle: StrayProgram.handle)
        try journal.make(
            Step.Part.program(hook, on: link, socket) { [program] in try program.attach(interface: link.index) })
        attached.insert(link.index)
    }
}

extension ChangeJournal {
    /// Returns the interfaces that have tc programs of the priority, by name.
    func interfacesOfPrograms(priority: UInt32) -> [Change.Interface] {
        let found = changes.compactMap { change in
            if case .filter(let interface, _, priority, _) = change { interface } else { nil }
        }
        return Set(found).sorted { $0.name < $1.name }
    }

    /// Detaches the tc programs of the priority from an interface; nil: from all interfaces. Removes the qdiscs that
    /// were made for them, and that none of the director's other programs uses.
    func undoPrograms(priority: UInt32, on interface: Change.Interface? = nil) throws {
        try changes.reversed().forEachDespiteErrors { change in
            guard case .filter(let place, _, priority, _) = change, interface == nil || place == interface else {
                return
            }
            try undo(change)
            let isInUse = changes.contains { if case .filter(place, _, _, _) = $0 { true } else { false } }
            if !isInUse { try undo(.qdisc(interface: place)) }
        }
    }
}

/// The watch over the interfaces without the packet program.
extension XDPHost {
    /// The shortest time between two warnings about an interface and a VIP.
    private static let straysQuiet = Duration.seconds(600)

    /// Attaches the stray program to the other interfaces. Failures are returned and not thrown, as clients' packets
    /// come in by the interfaces that have the packet program.
    @discardableResult
    func watchElsewhere(_ tree: LinkTree, _ addresses: [InterfaceAddress]) -> Repairs {
        let links = Elsewhere.links(ingress, in: tree)
        var repairs = Repairs()
        do {
            for (interface, outcome) in try elsewhere.cover(links) {
                let resource = XDPResource.strayProgram(interface: interface)
                switch outcome {
                case .restored: repairs.restored.append(resource.managed)
                case .failed(let error): repairs.failed.append((resource.managed, error))
                }
            }
            if let failure = try setStrayPlaces(links, addresses) {
                repairs.failed.append((XDPResource.strayPlaces.managed, failure))
            }
            try logStrays(tree)
        } catch { repairs.failed.append((XDPResource.strayPlaces.managed, error)) }
        return repairs
    }

    /// Sets the places of stray packets by the machine's present addresses. Returns an error where some places have no
    /// room.
    @discardableResult
    func setStrayPlaces(_ links: [Link], _ addresses: [InterfaceAddress]) throws -> DataPlaneError? {
        let places = Elsewhere.places(
            links, vips: demand.vips, isOurs: demand.managesAddress, addresses: addresses
        ) { (try? Sysctl.read("net/ipv4/conf/\($0.name)/forwarding")) == "1" }
        let left = try tables.setStrayPlaces(places)
        guard left > 0 else { return nil }
        return DataPlaneError(
            .kernel,
            "it has room for \(XDPDataPlane.maximumStrayPlaces) pairs of interface and VIP: \(left) are left out, where ARP is answered and packets are not counted"
        )
    }

    private func logStrays(_ tree: LinkTree) throws {
        let now = ContinuousClock.now
        for (place, packets) in try tables.strayPackets() where packets.age < .seconds(2) {
            guard let link = tree.link(index: place.interface) else { continue }
            if let last = straysLogged[place], last.duration(to: now) < Self.straysQuiet { continue }
            straysLogged[place] = now
            logger.warning(
                "packets for \(place.vip) come in by \(link.name), where the packet program is not: this machine's own stack has them, and no real server gets them",
                metadata: ["interface": "\(link.name)", "address": "\(place.vip)", "packets": "\(packets.count)"]
            )
        }
    }

    /// The interfaces by which answers to checks may come; none where the devices cannot be read. On a shared link,
    /// each of them answers ARP for the source address of checks.
    var interfacesOfAnswers: Set<Int32> {
        guard let tree = try? LinkTree() else { return [] }
        return Set((ingress.map(\.link) + Elsewhere.others(ingress, in: tree).filter(\.isUp)).map(\.index))
    }

    /// Logs a warning for each VIP whose subnet is only on interfaces without the packet program.
    func warnOfSubnetsElsewhere() throws {
        let tree = try LinkTree()
        let links = Elsewhere.links(ingress, in: tree)
        let addresses = try RouteSocket().addresses().filter { $0.prefixLength < 32 }
        for vip in demand.vips.sorted() {
            let around = Set(addresses.filter { $0.contains(vip) }.map(\.interface))
            let names = links.filter { around.contains($0.index) }.map(\.name)
            guard !names.isEmpty, names.count == around.count else { continue }
            logger.warning(
                "\(vip) is in the subnet of \(names.joined(separator: ", ")), where the packet program is not: clients there get no answer to ARP",
                metadata: ["interface": "\(names.joined(separator: ","))", "address": "\(vip)"]
            )
        }
    }
}
