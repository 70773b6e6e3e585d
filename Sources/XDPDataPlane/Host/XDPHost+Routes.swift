public import Addresses
internal import BPF
public import DataPlane
internal import HostState
import LoadBalancing
internal import Logging
public import Netlink

/// How frames for real servers leave.
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

    /// Takes in the answers to checks where they may come, for the addresses that checks leave from.
    public func followRoutes() {
        let servers = tables.serverAddresses.union(demandedServers)
        let paths = servers.compactMap { tables.path(to: $0) }.filter { !$0.isLocal }
        work.attempt("forget the programs of checks on interfaces that are gone") { try forgetInterfacesThatAreGone() }
        for interface in interfacesOfAnswers.union(paths.map(\.routeInterface)).subtracting(listening) {
            work.attempt("take in answers to checks on \(Self.name(ofInterface: interface))") {
                try listen(on: interface)
            }
        }
        let sources = Set(paths.map(\.source))
        if sources.count > XDPDataPlane.maximumCheckAddresses, checkDevice.takesChecks {
            logger.error(
                "checks leave from \(sources.count) addresses; answers are taken in for \(XDPDataPlane.maximumCheckAddresses)"
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

    /// Interfaces of containers come and go, each with a program of checks.
    private func forgetInterfacesThatAreGone() throws {
        let tree = try LinkTree()
        listening.formIntersection(tree.all.map(\.index))
        // ipvsd0 is made anew where it is gone.
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
