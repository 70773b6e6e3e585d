internal import Addresses
internal import BPF
internal import CLinux
internal import DataPlane
internal import HostState
internal import Netlink

/// ipvsd0, through which health checks enter the tunnel. Its peer, ipvsd1, gives it a carrier, and takes what the
/// packet program has encapsulated and found too big for its way: coming in on ipvsd0, the kernel forwards and fragments it.
final class CheckDevice {
    static let name = "ipvsd0"
    static let peerName = "ipvsd1"
    /// The largest packet there is.
    private static let mtu: UInt32 = 65535
    /// 192.0.0.8, the IPv4 dummy address of RFC 7600: nobody's.
    private static let dummyAddress = IPAddress.v4(IPv4Address(0xC000_0008))

    let link: Link
    let peer: Link
    private let programs: CheckPrograms?
    private let journal: ChangeJournal

    /// Makes the device, or takes the one that is there. `servers`: the rows of the table of real servers.
    init(directory: String, journal: ChangeJournal, checks: Bool, servers: Int) throws {
        let socket = try RouteSocket()
        if try socket.link(named: Self.name) != nil, journal.entry(for: Self.change) == nil {
            throw DataPlaneError(
                .interface, "create \(Self.name): there is a device of that name already, which is not this director's")
        }
        try journal.make(Self.change) {
            if try socket.link(named: Self.name) == nil { try socket.createVeth(name: Self.name, peer: Self.peerName) }
        }
        try journal.follow(try socket.links())
        guard let link = try socket.link(named: Self.name), let peer = try socket.link(named: Self.peerName) else {
            throw DataPlaneError(.kernel, "find \(Self.name) and its peer \(Self.peerName)")
        }
        try Self.setUp(link, peer, by: socket)

        self.link = link
        self.peer = peer
        self.journal = journal
        self.programs = checks ? try CheckPrograms(directory: directory, device: link, servers: servers) : nil
        if checks {
            for direction in Self.directions { try attach(interface: link, direction: direction) }
        }
    }

    static var change: Change { .link(name: Change.Interface(named: name)) }

    /// A property of the pair: how it is made, at first and where somebody has changed it, and how it is looked at.
    private typealias Requirement = (
        resource: XDPResource, make: (RouteSocket) throws -> Void, isMet: (LinkTree, [InterfaceAddress]) -> Bool
    )

    private static func requirements(of link: Link, _ peer: Link) -> [Requirement] {
        let states = [link, peer].flatMap { end -> [Requirement] in
            let present = { (tree: LinkTree) in tree.link(index: end.index) }
            return [
                (
                    .state("UP", of: end.name), { try $0.setUp(true, interface: end.index) },
                    { tree, _ in present(tree)?.isUp == true }
                ),
                // Next hops are the business of the program behind it.
                (
                    .state("NOARP", of: end.name), { try $0.setARP(false, interface: end.index) },
                    { tree, _ in present(tree)?.noARP == true }
                ),
                (
                    .state("MTU", of: end.name), { try $0.setMTU(mtu, interface: end.index) },
                    { tree, _ in present(tree)?.mtu == mtu }
                ),
            ]
        }
        // It comes with the device: `restore` has it made anew.
        let mac: Requirement = (ownMAC, { _ in }, { tree, _ in tree.link(index: link.index)?.address == link.address })
        let address: Requirement = (
            .address(dummyAddress, interface: link.name),
            { try $0.addAddress(dummyAddress, prefixLength: 32, to: link.index, scope: RouteScope.host) },
            { _, all in all.contains { $0.interface == link.index && $0.address == dummyAddress } }
        )
        let parameters = sysctls.map { key, value -> Requirement in
            (.sysctl(key), { _ in try Sysctl.write(key, value) }, { _, _ in (try? Sysctl.read(key)) == value })
        }
        return states + [mac, address] + parameters
    }

    /// Makes all that it takes besides being there. May be repeated.
    private static func setUp(_ link: Link, _ peer: Link, by socket: RouteSocket) throws {
        // Nothing of IPv6's own goes out of it. Where the kernel has no IPv6 there is no such key.
        for end in [link, peer] { try? Sysctl.write("net/ipv6/conf/\(end.name)/disable_ipv6", "1") }
        // The outer header would hide an unfinished checksum from the driver.
        _ = clinux_disable_transmit_checksum(name)
        _ = clinux_enable_gro(name)
        try requirements(of: link, peer).forEachDespiteErrors { try $0.make(socket) }
    }

    /// The device has a program for what leaves it and one for what comes in.
    private static let directions: [BPFProgram.TrafficControlHook.Direction] = [.egress, .ingress]
    private static let forwarding = "net/ipv4/conf/\(name)/forwarding"
    private static let sysctls = [
        // Here alone, whatever net.ipv4.ip_forward says.
        (forwarding, "1"),
        // Answers come from the VIP, which may be an address of this director.
        ("net/ipv4/conf/\(name)/accept_local", "1"),
        // Loose, which wins over a strict filter for all interfaces; it lets in only what comes to a device that has
        // an address (fib_validate_source).
        ("net/ipv4/conf/\(name)/rp_filter", "2"),
    ]

    var takesChecks: Bool { programs != nil }

    /// The counts of a real server's checks; nil where they cannot be read, or no checks are carried.
    func traffic(server id: UInt32, by transport: CheckTransport, begins: Bool) -> CheckTraffic? {
        try? programs?.traffic(server: id, by: transport, begins: begins)
    }

    /// Whether a pair was made by a director, as far as that can be seen.
    static func looksLikeOne(_ link: Link, _ peer: Link) -> Bool {
        [link, peer].allSatisfy { $0.kind == "veth" && $0.noARP && $0.mtu == mtu }
    }

    // MARK: What others take away

    /// The places of the programs that carry checks. `listening`: the interfaces on which answers are taken in.
    func programPlaces(listening: Set<Int32>) -> [CheckPathView.Place] {
        guard takesChecks else { return [] }
        return Self.directions.map { CheckPathView.Place(interface: link.index, direction: $0) }
            + listening.sorted().map { CheckPathView.Place(interface: $0, direction: .ingress) }
    }

    /// Returns the resources that are no longer as they were made, and those that could not be looked at.
    func missing(
        in view: CheckPathView
    ) -> (resources: [XDPResource], unseen: [(resource: XDPResource, error: any Error)]) {
        guard isWhole(in: view.tree) else { return ([.checkDevice], []) }
        var missing = Self.requirements(of: link, peer).filter { !$0.isMet(view.tree, view.addresses) }.map(\.resource)
        var unseen: [(resource: XDPResource, error: any Error)] = []
        for (place, isThere) in view.programs {
            guard let interface = view.tree.link(index: place.interface) else { continue }
            let resource = XDPResource.program(place.direction, interface: interface.name)
            do {
                if try !isThere.get() { missing.append(resource) }
            } catch { unseen.append((resource, error)) }
        }
        return (missing, unseen)
    }

    /// Whether both ends are those that were made, under their names.
    private func isWhole(in tree: LinkTree) -> Bool {
        [link, peer].allSatisfy { tree.link(index: $0.index)?.name == $0.name }
    }

    /// Whether checks cannot do without the resource: not what is there for fragments alone, nor what takes in answers where none
    /// is expected. `answering`: the interfaces by which answers come.
    static func takesPartInChecks(_ resource: XDPResource, answering: Set<String>) -> Bool {
        if case .program(_, let interface) = resource { return interface == name || answering.contains(interface) }
        return resource != .sysctl(forwarding)
    }

    private static let ownMAC = XDPResource.state("MAC address", of: name)

    /// Puts those back. False where they are of the devices themselves, or constants of the programs: then all is to be made
    /// anew, for which the rest of the pair is out of the way.
    func restore(_ missing: [XDPResource], in tree: LinkTree) throws -> Bool {
        let socket = try RouteSocket()
        if missing.contains(.checkDevice) {
            for end in [link, peer] where tree.link(index: end.index)?.kind == "veth" {
                try socket.deleteLink(index: end.index)
            }
            return false
        }
        if missing.contains(Self.ownMAC) { return false }
        var steps: [() throws -> Void] = [{ try Self.setUp(self.link, self.peer, by: socket) }]
        for case .program(let direction, let name) in missing {
            guard let interface = tree.link(named: name) else { continue }
            steps.append { try self.attach(interface: interface, direction: direction) }
        }
        try steps.forEachDespiteErrors { try $0() }
        return true
    }

    /// Takes in the answers that arrive on an interface.
    func listen(on interface: Link) throws {
        try attach(interface: interface, direction: .ingress)
    }

    private func attach(interface: Link, direction: BPFProgram.TrafficControlHook.Direction) throws {
        let hook = CheckPrograms.hook(interface: interface.index, direction: direction)
        try journal.make(
            Step.Part.program(hook, on: interface, RouteSocket()) { [programs, link] in
                switch direction {
                case .egress: try programs?.attachEgress(device: interface.index)
                case .ingress where interface.index == link.index: try programs?.attachAnswers(device: interface.index)
                case .ingress: try programs?.attachIngress(interface: interface.index)
                }
            })
    }
}

/// The devices, addresses and programs that a look at the check path found. Any thread may read them, which takes long on a
/// machine with many devices.
struct CheckPathView: Sendable {
    /// The place of a program that carries checks.
    struct Place: Sendable {
        var interface: Int32
        var direction: BPFProgram.TrafficControlHook.Direction
    }

    let tree: LinkTree
    let addresses: [InterfaceAddress]
    /// Whether each program is in its place.
    let programs: [(place: Place, isThere: Result<Bool, NetlinkError>)]

    init(programsAt places: [Place]) throws(NetlinkError) {
        tree = try LinkTree()
        let socket = try RouteSocket()
        addresses = try socket.addresses()
        programs = places.map { place in
            let isThere = Result { () throws(NetlinkError) in
                try socket.filters(interface: place.interface, ingress: place.direction == .ingress)
                    .contains { $0 == (CheckPrograms.priority, CheckPrograms.handle) }
            }
            return (place, isThere)
        }
    }

    /// Reads the same without keeping the caller's thread.
    @concurrent static func read(programsAt places: [Place]) async throws(NetlinkError) -> CheckPathView {
        try CheckPathView(programsAt: places)
    }
}
