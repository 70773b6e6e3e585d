import HostState
import LoadBalancing
import Netlink

/// What a real server's set-up looks at, read at one moment.
struct Machine {
    let links: [Link]
    let addresses: [InterfaceAddress]
    let mainRoutes: [Route]
    let ownRoutes: [Route]
    let ownRules: [Rule]
    private let filters: [String: [(priority: UInt32, handle: UInt32)]]

    init(_ socket: RouteSocket) throws(NetlinkError) {
        // A director's own device carries checks, no clients' packets.
        links = try socket.links().filter { !Names.directorDevices.contains($0.name) }
        addresses = try socket.addresses()
        mainRoutes = try socket.routes(table: RouteTable.main)
        ownRoutes = try socket.routes(table: Names.table).filter { $0.protocolID == Names.routeProtocol }
        ownRules = try socket.rules().filter(Names.isOurs)
        var found: [String: [(priority: UInt32, handle: UInt32)]] = [:]
        for link in links where link.isEthernet {
            found[link.name] = try socket.filters(interface: link.index, ingress: true)
        }
        filters = found
    }

    var tunnel: Link? { links.first { $0.name == Names.device } }

    func link(index: Int32) -> Link? { links.first { $0.index == index } }

    func hasAddress(_ address: IPv4Address, on link: Link) -> Bool {
        addresses.contains { $0.interface == link.index && $0.address == address }
    }

    /// Whether the program that leads to that tunl0 is on the interface.
    func hasProgram(on interface: String, for tunnel: Link) -> Bool {
        filters[interface, default: []].contains {
            $0.priority == Names.filterPriority && $0.handle == UInt32(bitPattern: tunnel.index)
        }
    }
}
