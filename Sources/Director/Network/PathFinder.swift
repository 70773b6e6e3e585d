internal import Addresses
internal import DataPlane
internal import HostState
internal import Netlink

/// Finds the ways to real servers by the kernel's routes and neighbours, and has the kernel keep the next hops resolved.
struct PathFinder {
    let network: any Network

    enum Result {
        /// `link`: the interface that the route names; nil for the director itself.
        case found(ServerRoute, by: Link?)
        /// There is no way now, and this is why.
        case none(String)
    }

    /// The way to a real server: its route's interface, and the MAC of the gateway or of the server itself. A gateway may
    /// have an IPv6 address (RFC 5549): the frame is the same.
    func path(to server: IPAddress, journal: ChangeJournal) throws -> Result {
        guard let route = try network.route(to: server) else { return .none("no route to \(server)") }
        if route.isLocal { return .found(.local(server, interface: route.interface), by: nil) }
        guard let link = try network.link(index: route.interface), let source = route.source else {
            return .none("no route to \(server)")
        }
        var nextHopMAC: MACAddress?
        if link.isEthernet {
            let nextHop = route.gateway ?? server
            try manage(nextHop, on: link, journal: journal)
            let neighbour = try network.neighbour(nextHop, on: link.index)
            nextHopMAC = neighbour.flatMap { $0.isUsable ? $0.linkAddress : nil }
        }
        let found = ServerRoute(
            source: source, server: server, interface: link.index, sourceMAC: link.address, nextHopMAC: nextHopMAC,
            mtu: try mtu(of: route, to: server) ?? link.mtu)
        return .found(found, by: link)
    }

    /// Not what the kernel was told of the path: anybody can tell it. RouterErrors hears the same.
    private func mtu(of route: ResolvedRoute, to server: IPAddress) throws -> UInt32? {
        route.isMTULearnt ? try network.routeMTU(to: server) : route.mtu
    }

    /// Whether there are routers on the way that may find a packet too big.
    func isRouted(_ server: IPAddress) throws -> Bool { try network.route(to: server)?.gateway != nil }

    /// Asks for the entry where there is none that the kernel keeps by itself. One that we ask for is ours to remove.
    private func manage(_ address: IPAddress, on link: Link, journal: ChangeJournal) throws {
        guard link.isUp, link.hasCarrier else { return }
        if let present = try network.neighbour(address, on: link.index) {
            if present.isManaged || present.state & Self.permanent != 0 { return }
        }
        try journal.make(.neighbour(address: address, interface: .init(link))) {
            try network.manageNeighbour(address, on: link.index)
        }
    }

    private static let permanent: UInt16 = 0x80

    /// Broadcasts for the next hop's MAC. A silent real server may have got another one, and the kernel would believe
    /// the old one for most of a minute. A gateway with an IPv6 address is a router, which announces another one.
    func requestMAC(_ server: IPAddress) {
        guard let route = try? network.route(to: server), let source = route.source,
            let link = try? network.link(index: route.interface), link.isEthernet
        else { return }
        let nextHop = route.gateway ?? server
        if nextHop.family == .v4 { network.requestNeighbour(nextHop, from: source, on: link) }
    }
}
