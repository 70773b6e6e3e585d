internal import LoadBalancing
internal import Netlink

/// Where clients' packets come in: the interface with the addresses, and the devices on which the packet program sits.
struct Ingress {
    var link: Link
    /// Frames come by these first; not the same as `link` where that is a VLAN device or a bridge.
    var devices: [Link]
    /// Below those: what a bond has, else the devices themselves.
    var members: [Link]
    /// Frames of other hosts come by, too.
    var isBridged: Bool

    init(_ link: Link, in tree: LinkTree) throws(DirectorError) {
        self.link = link
        devices = try tree.devices(of: link)
        guard !devices.isEmpty else {
            throw DirectorError(.interface, "attach director to \(link.name): the bridge has no port")
        }
        members = devices.flatMap(tree.members)
        isBridged = tree.isBridged(link)
    }

    /// The interfaces named, or else the one of the VIP's subnet, or those of the default route's next hops.
    static func find(_ names: [String], vip: IPv4Address) throws -> [Ingress] {
        let tree = try LinkTree()
        if names.isEmpty { return try standard(vip: vip, tree).map { try Ingress($0, in: tree) } }
        return try names.map { name in
            guard let link = tree.link(named: name) else {
                throw DirectorError(
                    .interface,
                    "find interface \(name): no such interface (there are: \(tree.names.listed))")
            }
            return try Ingress(link, in: tree)
        }
    }

    private static func standard(vip: IPv4Address, _ tree: LinkTree) throws -> [Link] {
        let socket = try RouteSocket()
        let subnet = try socket.addresses().filter { $0.prefixLength < 32 && $0.contains(vip) }
            .max { $0.prefixLength < $1.prefixLength }
        let links = try (subnet.map { [$0.interface] } ?? defaultInterfaces(socket)).compactMap(tree.link(index:))
        if links.isEmpty {
            throw DirectorError(
                .interface,
                "find the interface for \(vip): no interface has its subnet and there is no default route; say --interface"
            )
        }
        return links
    }

    /// Returns the interfaces of the default route that the kernel prefers: clients' packets may come in by each of its
    /// next hops.
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
    /// Each once.
    var devices: [Link] { unique(flatMap(\.devices)) }
    var members: [Link] { unique(flatMap(\.members)) }

    /// XDP_TX is lost on a veth, so that answers leave by redirect.
    var hasVeth: Bool { members.contains { $0.kind == "veth" } }

    /// Where a packet can go out of the device that it came in by.
    var transmitting: Set<Int32> { hasVeth ? [] : Set(devices.map(\.index)) }

    private func unique(_ links: [Link]) -> [Link] {
        var seen: Set<Int32> = []
        return links.filter { seen.insert($0.index).inserted }
    }

    /// Where a VIP goes: to the interface of its subnet, else to the first.
    func home(of vip: IPv4Address, _ addresses: [InterfaceAddress]) -> Link? {
        let links = map(\.link)
        let subnet = addresses.filter { entry in
            entry.prefixLength < 32 && entry.contains(vip) && links.contains { $0.index == entry.interface }
        }.max { $0.prefixLength < $1.prefixLength }
        return links.first { $0.index == subnet?.interface } ?? links.first
    }
}

extension InterfaceAddress {
    /// Whether the address is in the network behind this one.
    func contains(_ other: IPv4Address) -> Bool {
        let mask = prefixLength == 0 ? 0 : UInt32.max << UInt32(32 - prefixLength)
        return address.value & mask == other.value & mask
    }
}
