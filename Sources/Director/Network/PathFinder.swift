internal import CLinux
internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Netlink

/// Finds interfaces and ways by the kernel's routes and neighbours, and has the kernel keep the next hops resolved.
final class PathFinder {
    private let socket: RouteSocket
    private let journal: ChangeJournal
    /// XDP_TX works there: the ingress devices, unless one is a veth.
    var transmitting: Set<Int32>
    /// Packets are redirected by drivers, not by the stack.
    var isNative = false
    /// Kinds of devices whose drivers take frames from an XDP redirect (ndo_xdp_xmit); hardware is not asked.
    private static let redirectable = [nil, "veth", "bond", "tun"]
    /// The port that a bridge last had an address behind: it forgets, and the cable is where it was.
    private var ports: [BridgedAddress: Int32] = [:]

    private struct BridgedAddress: Hashable {
        var bridge: Int32
        var address: MACAddress
    }

    init(journal: ChangeJournal, transmitting: Set<Int32>) throws {
        self.socket = try RouteSocket()
        self.journal = journal
        self.transmitting = transmitting
    }

    enum Result {
        case found(Path)
        /// There is no way now, and this is why.
        case none(String)
    }

    /// The way to a real server: its route's interface, and the MAC of the gateway or of the server itself. A gateway may
    /// have an IPv6 address (RFC 5549): the frame is the same.
    func path(to server: IPv4Address) throws -> Result {
        guard let route = try socket.route(to: server) else { return .none("no route to \(server)") }
        if route.isLocal { return .found(.local(server, interface: route.interface)) }
        guard let link = try socket.link(index: route.interface), let source = route.source else {
            return .none("no route to \(server)")
        }
        guard link.isEthernet, let mac = link.address else {
            return .none("the route to \(server) leaves by \(link.name), which is no Ethernet interface")
        }
        let nextHop = route.gateway ?? .v4(server)
        try manage(nextHop, on: link)
        let neighbour = try socket.neighbour(nextHop, on: link.index)
        let nextHopMAC = neighbour.flatMap { $0.isUsable ? $0.linkAddress : nil }
        switch try exit(by: link, toward: nextHopMAC) {
        case .failure(let none): return .none("the route to \(server) leaves by \(link.name), \(none.reason)")
        case .success(let exit):
            return .found(
                Path(
                    source: source, destination: server, interface: exit.device.index, routeInterface: link.index,
                    tags: exit.tags, sourceMAC: mac, nextHopMAC: nextHopMAC,
                    mtu: try mtu(of: route, to: server) ?? link.mtu,
                    transmits: transmitting.contains(exit.device.index)))
        }
    }

    /// Not what the kernel was told of the path: anybody can tell it. RouterErrors hears the same.
    private func mtu(of route: ResolvedRoute, to server: IPv4Address) throws -> UInt32? {
        route.isMTULearnt ? try socket.routeMTU(to: server) : route.mtu
    }

    /// Whether there are routers on the way that may find a packet too big.
    func isRouted(_ server: IPv4Address) throws -> Bool { try socket.route(to: server)?.gateway != nil }

    private struct Exit {
        var device: Link
        var tags: [VLANTag]
    }

    private struct NoExit: Error { var reason: String }

    /// The device that takes frames for a route's interface, and the tags that they need there: below a VLAN device
    /// the one it sits on, of a bridge the port behind which the next hop is.
    private func exit(by interface: Link, toward nextHop: MACAddress?) throws -> Swift.Result<Exit, NoExit> {
        var exit = Exit(device: interface, tags: [])
        while true {
            switch exit.device.kind {
            case "vlan":
                guard let tag = exit.device.tag, let below = try exit.device.lower.flatMap(socket.link(index:)) else {
                    return .failure(NoExit(reason: "and the device below it is in another network namespace"))
                }
                guard exit.tags.count < Path.maximumTags else {
                    return .failure(NoExit(reason: "with more than \(Path.maximumTags) tags"))
                }
                exit = Exit(device: below, tags: [tag] + exit.tags)
            // In generic mode the bridge itself takes frames, and floods where it does not know.
            case "bridge" where isNative:
                if exit.device.filtersVLANs {
                    return .failure(NoExit(reason: "and bridge \(exit.device.name) filters VLANs by itself"))
                }
                // Not known yet: it is not asked for a port either.
                guard let nextHop else { return .success(exit) }
                guard let port = try port(of: nextHop, bridge: exit.device.index) else {
                    return .failure(NoExit(reason: "and bridge \(exit.device.name) has not heard of \(nextHop)"))
                }
                exit.device = port
            case let kind where isNative && !Self.redirectable.contains(kind):
                return .failure(
                    NoExit(
                        reason: "and \(exit.device.name), a \(kind ?? "device"), takes no packets from native XDP; "
                            + "--xdp generic would do"))
            default: return .success(exit)
            }
        }
    }

    private func port(of address: MACAddress, bridge: Int32) throws -> Link? {
        let key = BridgedAddress(bridge: bridge, address: address)
        if let port = try socket.port(of: address, bridge: bridge) { ports[key] = port }
        guard let port = try ports[key].flatMap(socket.link(index:)), port.master == bridge else { return nil }
        return port
    }

    /// Asks for the entry where there is none that the kernel keeps by itself. One that we ask for is ours to remove.
    private func manage(_ address: NextHopAddress, on link: Link) throws {
        guard link.isUp, link.hasCarrier else { return }
        if let present = try socket.neighbour(address, on: link.index) {
            if present.isManaged || present.state & permanent != 0 { return }
        }
        try journal.make(.neighbour(address: address, interface: link.name)) {
            try socket.manageNeighbour(address, on: link.index)
        }
    }

    private let permanent: UInt16 = 0x80

    /// Broadcasts for the next hop's MAC. A silent real server may have got another one, and the kernel would believe
    /// the old one for most of a minute. A gateway with an IPv6 address is a router, which announces another one.
    func askAgain(_ server: IPv4Address) {
        guard let route = try? socket.route(to: server), let source = route.source,
            case .v4(let nextHop) = route.gateway ?? .v4(server),
            let link = try? socket.link(index: route.interface), link.isEthernet, let mac = link.address
        else { return }
        _ = clinux_request_arp(link.index, mac.bytes, source.bigEndian, nextHop.bigEndian)
    }
}
