public import Addresses
internal import BPF
public import DataPlane
internal import HostState
internal import LoadBalancing
internal import Logging
public import Netlink

/// Finds the device by which frames leave, below the interface that a route names.
final class ExitFinder {
    struct Exit {
        var device: Link
        var tags: [VLANTag]
    }

    struct NoExit: Error { var reason: String }

    private let socket: RouteSocket
    /// The devices on which XDP_TX works: the ingress devices, unless one is a veth.
    var transmitting: Set<Int32>
    /// Whether drivers redirect packets, as in XDP's native mode, and not the network stack.
    var isNative = false
    /// The kinds of devices whose drivers take frames from an XDP redirect (ndo_xdp_xmit). Kind nil is hardware, of
    /// which this is assumed.
    private static let redirectable = [nil, "veth", "bond", "tun"]
    /// The last known port of an address behind a bridge. A bridge forgets its ports' addresses, while the cable stays.
    private var ports: [BridgedAddress: Int32] = [:]

    private struct BridgedAddress: Hashable {
        var bridge: Int32
        var address: MACAddress
    }

    init(transmitting: Set<Int32>) throws {
        socket = try RouteSocket()
        self.transmitting = transmitting
    }

    /// Returns the device that takes frames for a route's interface, and their tags. Below a VLAN device it is the
    /// lower device. Of a bridge it is the port that leads to the next hop.
    func exit(by interface: Link, toward nextHop: MACAddress?) throws -> Result<Exit, NoExit> {
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
            // In generic mode the bridge itself takes frames, and floods those to unknown addresses.
            case "bridge" where isNative:
                if exit.device.filtersVLANs {
                    return .failure(NoExit(reason: "and bridge \(exit.device.name) filters VLANs by itself"))
                }
                // Without an answer of the next hop, there is no address to look up.
                guard let nextHop else { return .success(exit) }
                guard let port = try port(of: nextHop, bridge: exit.device.index) else {
                    return .failure(NoExit(reason: "and bridge \(exit.device.name) has not heard of \(nextHop)"))
                }
                exit.device = port
            case let kind where isNative && !Self.redirectable.contains(kind):
                return .failure(
                    NoExit(
                        reason: "and \(exit.device.name), a \(kind ?? "device"), takes no packets from native XDP; "
                            + "the XDP mode generic would do"))
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
}

/// The paths to real servers.
extension XDPHost {
    public func route(to server: IPAddress) -> ServerRoute? {
        server.v4.flatMap { tables.path(to: $0) }.map(ServerRoute.init)
    }

    public func setRoute(_ route: ServerRoute?, by link: Link?, to server: IPAddress) throws -> String? {
        let address = try server.asIPv4()
        var path: Path?
        var refusal: String?
        if let route, route.isLocal {
            path = .local(address, interface: route.interface)
        } else if let route {
            switch try self.path(by: route, over: link) {
            case .success(let found): path = found
            case .failure(let none):
                refusal = "the route to \(server) leaves by \(link?.name ?? "no interface"), \(none.reason)"
            }
        }
        try tables.setPath(path, to: address)
        return refusal
    }

    private func path(by route: ServerRoute, over link: Link?) throws -> Result<Path, ExitFinder.NoExit> {
        guard let link, link.isEthernet, let mac = route.sourceMAC else {
            return .failure(.init(reason: "which is no Ethernet interface"))
        }
        let (source, destination) = (try route.source.asIPv4(), try route.server.asIPv4())
        return try exits.exit(by: link, toward: route.nextHopMAC).map { exit in
            Path(
                source: source, destination: destination, interface: exit.device.index,
                routeInterface: link.index, tags: exit.tags, sourceMAC: mac, nextHopMAC: route.nextHopMAC,
                mtu: route.mtu, transmits: exits.transmitting.contains(exit.device.index))
        }
    }

    /// Accepts answers to checks on all interfaces where they may come, for the source addresses of checks.
    public func followRoutes() {
        let servers = tables.serverAddresses.union(demandedServers)
        let paths = servers.compactMap { tables.path(to: $0) }.filter { !$0.isLocal }
        work.attempt("forget the programs of checks on interfaces that are gone") { try dropVanishedInterfaces() }
        for interface in interfacesOfAnswers.union(paths.map(\.routeInterface)).subtracting(listening) {
            work.attempt("take in answers to checks on \(Self.name(ofInterface: interface))") {
                try listen(on: interface)
            }
        }
        let sources = Set(paths.map(\.source))
        if sources.count > XDPDataPlane.maximumCheckAddresses, checkDevice.takesChecks {
            logger.error(
                "checks leave from \(sources.count) addresses; answers are taken in for \(XDPDataPlane.maximumCheckAddresses)",
                metadata: [
                    "addresses": "\(sources.count)", "limit": "\(XDPDataPlane.maximumCheckAddresses)",
                ]
            )
        }
        tables.setCheckAddresses(sources.sorted())
    }

    var demandedServers: Set<IPv4Address> {
        Set(demand.services.flatMap { $0.servers.compactMap(\.address.v4) })
    }

    private static func name(ofInterface index: Int32) -> String {
        (try? RouteSocket().link(index: index))?.name ?? "interface \(index)"
    }

    func listen(on interface: Int32) throws {
        guard checkDevice.takesChecks, !listening.contains(interface) else { return }
        guard let link = try RouteSocket().link(index: interface) else { return }
        try checkDevice.listen(on: link)
        listening.insert(interface)
    }

    /// Drops the check programs of interfaces that are gone, such as containers'.
    private func dropVanishedInterfaces() throws {
        let tree = try LinkTree()
        listening.formIntersection(tree.all.map(\.index))
        // A missing ipvsd0 is made anew.
        let gone = journal.interfacesOfPrograms(priority: CheckPrograms.priority)
            .filter { $0.name != CheckDevice.name && $0.find(among: tree.all) == nil }
        try gone.forEachDespiteErrors { try journal.undoPrograms(priority: CheckPrograms.priority, on: $0) }
    }
}

extension ServerRoute {
    fileprivate init(_ path: Path) {
        self.init(
            source: .v4(path.source), server: .v4(path.destination), interface: path.routeInterface,
            sourceMAC: path.sourceMAC,
            nextHopMAC: path.nextHopMAC, mtu: path.mtu, isLocal: path.isLocal)
    }
}
