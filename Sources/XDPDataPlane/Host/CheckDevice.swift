internal import Addresses
internal import BPF
internal import CLinux
internal import DataPlane
internal import HostState
internal import Netlink

/// The device ipvsd0, through which health checks enter the tunnel, and its peer ipvsd1, which gives it a carrier.
/// Encapsulated packets that exceed the path MTU go by ipvsd1 into ipvsd0. There the kernel fragments and forwards
/// them.
final class CheckDevice {
    static let name = "ipvsd0"
    static let peerName = "ipvsd1"
    /// The size of the largest IPv4 packet.
    private static let mtu: UInt32 = 65535
    /// The address 192.0.0.8, the IPv4 dummy address of RFC 7600, which no host has.
    private static let dummyAddress = IPAddress.v4(IPv4Address(0xC000_0008))

    let link: Link
    let peer: Link
    private let programs: CheckPrograms?
    private let journal: ChangeJournal

    /// Makes the device, or adopts a present one. `servers` is the number of rows of real servers.
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

    /// A property of the pair, the function that sets it at first and in a repair, and the function that checks it.
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
                // The program behind the device decides about next hops.
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
        // The MAC address comes with the device and is not set. Where it has changed, the device is made anew.
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

    /// Sets all properties of the pair. May be repeated.
    private static func setUp(_ link: Link, _ peer: Link, by socket: RouteSocket) throws {
        // Packets of the kernel's own IPv6 must not leave the pair. A kernel without IPv6 has no such key.
        for end in [link, peer] { try? Sysctl.write("net/ipv6/conf/\(end.name)/disable_ipv6", "1") }
        // The outer header would hide an unfinished checksum from the driver.
        _ = clinux_disable_transmit_checksum(name)
        _ = clinux_enable_gro(name)
        try requirements(of: link, peer).forEachDespiteErrors { try $0.make(socket) }
    }

    /// The directions of the device's two programs.
    private static let directions: [BPFProgram.TrafficControlHook.Direction] = [.egress, .ingress]
    private static let forwarding = "net/ipv4/conf/\(name)/forwarding"
    private static let sysctls = [
        // This allows forwarding here alone, whatever net.ipv4.ip_forward is.
        (forwarding, "1"),
        // Answers come from the VIP, which may be an address of this director.
        ("net/ipv4/conf/\(name)/accept_local", "1"),
        // A loose filter here wins over a strict filter that is set for all interfaces. The loose filter accepts
        // packets only on a device with an address (fib_validate_source).
        ("net/ipv4/conf/\(name)/rp_filter", "2"),
    ]

    var takesChecks: Bool { programs != nil }

    /// Returns the counts of a real server's checks; nil where they cannot be read, or no checks are carried.
    func traffic(server id: UInt32, by transport: CheckTransport, begins: Bool) -> CheckTraffic? {
        try? programs?.traffic(server: id, by: transport, begins: begins)
    }

    /// Whether a pair looks as a director makes it.
    static func resemblesCheckDevice(_ link: Link, _ peer: Link) -> Bool {
        [link, peer].allSatisfy { $0.kind == "veth" && $0.noARP && $0.mtu == mtu }
    }

    // MARK: Repair

    /// Returns the places of the programs that carry checks. `listening` has the interfaces on which answers are taken
    /// in.
    func programPlaces(listening: Set<Int32>) -> [CheckPathView.Place] {
        guard takesChecks else { return [] }
        return Self.directions.map { CheckPathView.Place(interface: link.index, direction: $0) }
            + listening.sorted().map { CheckPathView.Place(interface: $0, direction: .ingress) }
    }

    /// Returns the resources that were changed, and the resources that could not be read.
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

    /// Whether both ends are the original ones, under their names.
    private func isWhole(in tree: LinkTree) -> Bool {
        [link, peer].allSatisfy { tree.link(index: $0.index)?.name == $0.name }
    }

    /// Whether checks need the resource. A resource for fragments alone, or for answers on an unused interface, is not
    /// needed. `answering` has the interfaces by which answers come.
    static func isNeededByChecks(_ resource: XDPResource, answering: Set<String>) -> Bool {
        if case .program(_, let interface) = resource { return interface == name || answering.contains(interface) }
        return resource != .sysctl(forwarding)
    }

    private static let ownMAC = XDPResource.state("MAC address", of: name)

    /// Restores the missing resources. Returns false where the pair has to be made anew, and deletes what is left of
    /// it. The pair has to be made anew if a device is missing, or if a value changed that is a constant of the
    /// programs.
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

/// The state of the check path at one time: devices, addresses and programs. Any thread may read it, which takes long
/// on a machine with many devices.
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

    /// Reads the state without blocking the caller's thread.
    @concurrent static func read(programsAt places: [Place]) async throws(NetlinkError) -> CheckPathView {
        try CheckPathView(programsAt: places)
    }
}
