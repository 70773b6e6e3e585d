internal import Addresses
internal import DataPlane
internal import HostState
internal import Netlink

/// The search for paths to real servers by the kernel's routes and neighbours. The search has the kernel keep next hops
/// resolved.
struct PathFinder {
    let network: any Network

    enum Result {
        /// A path. `link` is the route's interface, or nil for a local node.
        case found(ServerRoute, by: Link?)
        /// The reason why there is no path.
        case none(String)
    }

    /// Returns the path to a real server, with the route's interface and the MAC of the gateway or of the server
    /// itself. A gateway may have an IPv6 address (RFC 5549), which does not change the frame.
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

    /// Returns the route's MTU without the kernel's learnt path MTU, as anybody can forge the messages from which the
    /// kernel learns it. `RouterErrors` reads the same messages.
    private func mtu(of route: ResolvedRoute, to server: IPAddress) throws -> UInt32? {
        route.isMTULearnt ? try network.routeMTU(to: server) : route.mtu
    }

    /// Returns whether there are routers on the path, which may find a packet too big.
    func isRouted(_ server: IPAddress) throws -> Bool { try network.route(to: server)?.gateway != nil }

    /// Has the kernel resolve the neighbour permanently, unless its entry is managed or permanent already. The new
    /// entry is journalled, as a stop has to remove it.
    private func manage(_ address: IPAddress, on link: Link, journal: ChangeJournal) throws {
        guard link.isUp, link.hasCarrier else { return }
        if let present = try network.neighbour(address, on: link.index) {
            if present.isManaged || present.state & Self.permanent != 0 { return }
        }
        try journal.make(.neighbour(address: address, interface: .init(link))) {
            try network.manageNeighbour(address, on: link.index)
        }
    }

    /// The state NUD_PERMANENT of a neighbour.
    private static let permanent: UInt16 = 0x80

    /// Broadcasts an ARP request for the next hop of a silent real server. The next hop's MAC may have changed, and the
    /// kernel would keep the old one for most of a minute. A gateway with an IPv6 address is a router, which announces
    /// a new MAC itself.
    func requestMAC(_ server: IPAddress) {
        guard let route = try? network.route(to: server), let source = route.source,
            let link = try? network.link(index: route.interface), link.isEthernet
        else { return }
        let nextHop = route.gateway ?? server
        if nextHop.family == .v4 { network.requestNeighbour(nextHop, from: source, on: link) }
    }
}
