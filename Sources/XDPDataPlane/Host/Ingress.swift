internal import Addresses
internal import DataPlane
internal import LoadBalancing
internal import Netlink

/// An interface by which clients' packets come in, with the devices to which the packet program is attached.
struct Ingress {
    var link: Link
    /// The devices that see the frames first. They differ from `link` for a VLAN device and for a bridge.
    var devices: [Link]
    /// The members of a bond, or else the devices themselves.
    var members: [Link]
    /// Whether frames of other hosts come in, too.
    var isBridged: Bool

    init(_ link: Link, in tree: LinkTree) throws(DataPlaneError) {
        self.link = link
        // Routes and neighbours are looked up outside of VRFs.
        if let vrf = tree.vrf(of: link) {
            throw DataPlaneError(
                .interface,
                "attach director to \(link.name): it is part of the VRF \(vrf.name), and real servers are reached by routes outside of VRFs (accepted: an interface of no VRF; 'ip link set \(link.name) nomaster' takes it out)"
            )
        }
        devices = try tree.devices(of: link)
        guard !devices.isEmpty else {
            throw DataPlaneError(.interface, "attach director to \(link.name): the bridge has no port")
        }
        members = devices.flatMap(tree.members)
        isBridged = tree.isBridged(link)
    }

    /// Returns the interface with the present names of its devices.
    func following(_ tree: LinkTree) -> Ingress {
        var ingress = self
        ingress.link = tree.link(index: link.index) ?? link
        ingress.devices = devices.map { tree.link(index: $0.index) ?? $0 }
        ingress.members = members.map { tree.link(index: $0.index) ?? $0 }
        return ingress
    }

    /// Returns the named interfaces. Without names, returns the interfaces of the VIPs' subnets. Where no interface has
    /// the first VIP's subnet, those of the default route take its place.
    static func find(_ names: [String], vips: [IPAddress]) throws -> [Ingress] {
        let tree = try LinkTree()
        if names.isEmpty { return try standard(vips, tree) }
        let links = try names.map { name throws(DataPlaneError) in
            guard let link = tree.link(named: name) else {
                throw DataPlaneError(
                    .interface,
                    "find interface \(name): no such interface (there are: \(tree.names.listed))")
            }
            return link
        }
        return try links.unique.map { try Ingress($0, in: tree) }
    }

    /// Returns the usable interfaces for the VIPs. Throws where there is none.
    private static func standard(_ vips: [IPAddress], _ tree: LinkTree) throws -> [Ingress] {
        let socket = try RouteSocket()
        let addresses = try socket.addresses()
        var links = vips.map { Self.links(ofSubnetOf: $0, addresses, tree) }
        if links.first?.isEmpty == true { links[0] = try defaultInterfaces(socket).compactMap(tree.link(index:)) }
        let found = links.flatMap(\.self).unique.map { link in Result { try Ingress(link, in: tree) } }
        guard let first = found.first else {
            throw DataPlaneError(
                .interface,
                "find the interface for \(vips.first?.description ?? "no VIP"): no interface has its subnet and there is no "
                    + "default route (the interfaces can be named)"
            )
        }
        let usable = found.compactMap { try? $0.get() }
        return usable.isEmpty ? [try first.get()] : usable
    }

    /// Returns the interfaces of the VIP's subnet, as its clients may come by each of them. Of stacked interfaces only
    /// the lowest counts.
    private static func links(
        ofSubnetOf vip: IPAddress, _ addresses: [InterfaceAddress], _ tree: LinkTree
    ) -> [Link] {
        let around = addresses.filter { $0.prefixLength < 32 && $0.contains(vip) }
        let longest = around.map(\.prefixLength).max()
        let indices = Set(around.filter { $0.prefixLength == longest }.map(\.interface))
        let links = tree.all.filter { indices.contains($0.index) && !$0.isLoopback }
        let lowest = links.filter { link in
            !tree.isReached(link, by: Set(links.map(\.index)).subtracting([link.index]))
        }
        let ethernet = lowest.filter(\.isEthernet)
        return ethernet.isEmpty ? lowest : ethernet
    }

    /// Returns the interfaces of the kernel's preferred default route, since clients' packets may come in by each of
    /// its next hops.
    private static func defaultInterfaces(_ socket: RouteSocket) throws -> [Int32] {
        let route = try socket.routes(table: RouteTable.main).first {
            $0.prefixLength == 0 && $0.type == RouteType.unicast
        }
        guard let route else { return [] }
        var seen: Set<Int32> = []
        return (route.interface.map { [$0] } ?? route.nextHops.map(\.interface)).filter { seen.insert($0).inserted }
    }
}

extension [Ingress] {
    /// The devices of all interfaces, each once.
    var devices: [Link] { flatMap(\.devices).unique }
    var members: [Link] { flatMap(\.members).unique }

    /// Whether answers have to leave by redirect. A veth loses frames of XDP_TX.
    var hasVeth: Bool { members.contains { $0.kind == "veth" } }

    /// The devices on which XDP_TX works.
    var transmitting: Set<Int32> { hasVeth ? [] : Set(devices.map(\.index)) }
}

extension [Link] {
    /// The links, each once.
    fileprivate var unique: [Link] {
        var seen: Set<Int32> = []
        return filter { seen.insert($0.index).inserted }
    }
}

/// The destination MACs of frames for the director.
struct OwnMACs {
    /// The MACs of the interfaces, and of the devices on them.
    var own: [MACAddress] = []
    /// The MACs of macvlans where neither the macvlan nor its interface has a VIP now, as on keepalived's backup.
    var idle: [MACAddress] = []

    /// Collects the addresses. `holders` has the interfaces with a VIP; nil: the director itself puts the VIPs on the
    /// interfaces. All devices on them then receive for the director.
    init(of interfaces: [Link], in tree: LinkTree, holders: Set<Int32>?) {
        for link in interfaces {
            for receiver in tree.receivers(of: link) {
                guard let address = receiver.address else { continue }
                let isOwn =
                    receiver.kind != "macvlan" || interfaces.contains { $0.index == receiver.index }
                    || holders.map { !$0.isDisjoint(with: [receiver.index, link.index]) } ?? true
                if isOwn, !own.contains(address) { own.append(address) }
                if !isOwn, !idle.contains(address) { idle.append(address) }
            }
        }
        idle.removeAll(where: own.contains)
    }
}
