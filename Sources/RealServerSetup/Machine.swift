import Addresses
import HostState
import Netlink

/// What a real server's set-up looks at, read at one moment.
struct Machine {
    let links: [Link]
    let addresses: [InterfaceAddress]
    /// Of all tables.
    let routes: [Route]
    let ownRoutes: [Route]
    let ownRules: [Rule]
    let segmentRules: SegmentRules.Presence
    private let filters: [String: [(priority: UInt32, handle: UInt32)]]
    /// Programs that lower the MSS, by interface. Others' filters may be among them.
    private let egressFilters: [String: [(priority: UInt32, handle: UInt32)]]

    init(_ socket: RouteSocket) throws {
        // A director's own device carries checks, no clients' packets.
        links = try socket.links().filter { !Names.directorDevices.contains($0.name) }
        addresses = try socket.addresses()
        routes = try socket.routes()
        ownRoutes = routes.filter { $0.table == Names.table && $0.protocolID == Names.routeProtocol }
        segmentRules = try SegmentRules.presence()
        ownRules = try socket.rules().filter(Names.isOurs)
        var found: [String: [(priority: UInt32, handle: UInt32)]] = [:]
        var egress = found
        for link in links where link.isEthernet {
            found[link.name] = try socket.filters(interface: link.index, ingress: true)
            egress[link.name] = try socket.filters(interface: link.index, ingress: false)
        }
        filters = found
        egressFilters = egress
    }

    /// By which answers may leave.
    var mtus: Set<UInt32> {
        let devices = links.filter { !$0.isLoopback && $0.name != Names.device }.map(\.mtu)
        return Set(devices + routes.compactMap(\.mtu))
    }

    var tunnel: Link? { links.first { $0.name == Names.device } }

    func link(index: Int32) -> Link? { links.first { $0.index == index } }

    func hasAddress(_ address: IPAddress, on link: Link) -> Bool {
        addresses.contains { $0.interface == link.index && $0.address == address }
    }

    /// Ethernet interfaces that are up and have an IPv4 address.
    var lan: [Link] {
        links.filter { link in link.isEthernet && link.isUp && addresses.contains { $0.interface == link.index } }
    }

    func segmentPrograms(of vip: IPv4Address, on interface: String) -> [SegmentProgram] {
        egressFilters[interface, default: []].filter { $0.handle == vip.value }.map {
            SegmentProgram(vip: vip, size: $0.priority == Names.filterPriority ? 0 : $0.priority)
        }
    }

    /// Whether the program that leads to that tunl0 is on the interface.
    func hasProgram(on interface: String, for tunnel: Link) -> Bool {
        filters[interface, default: []].contains {
            $0.priority == Names.filterPriority && $0.handle == UInt32(bitPattern: tunnel.index)
        }
    }
}
