import Addresses
import HostState
import Netlink

/// The state of the machine that a real server's set-up depends on.
struct Machine {
    let links: [Link]
    let addresses: [InterfaceAddress]
    /// The routes of all tables.
    let routes: [Route]
    let ownRoutes: [Route]
    let ownRules: [Rule]
    let segmentRules: SegmentRules.Presence
    private let filters: [String: [(priority: UInt32, handle: UInt32)]]
    /// The tc filters on egress, by interface. Among them are the programs that lower the MSS.
    private let egressFilters: [String: [(priority: UInt32, handle: UInt32)]]

    init(_ socket: RouteSocket) throws {
        // A director's devices are left out, as they carry checks, and no packets of clients.
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

    /// The MTUs of all interfaces and routes by which answers may leave.
    var mtus: Set<UInt32> {
        let devices = links.filter { !$0.isLoopback && $0.name != Names.device }.map(\.mtu)
        return Set(devices + routes.compactMap(\.mtu))
    }

    var tunnel: Link? { links.first { $0.name == Names.device } }

    func link(index: Int32) -> Link? { links.first { $0.index == index } }

    func hasAddress(_ address: IPAddress, on link: Link) -> Bool {
        addresses.contains { $0.interface == link.index && $0.address == address }
    }

    /// The Ethernet interfaces that are up and have an IPv4 address.
    var lan: [Link] {
        links.filter { link in link.isEthernet && link.isUp && addresses.contains { $0.interface == link.index } }
    }

    func segmentPrograms(of vip: IPv4Address, on interface: String) -> [SegmentProgram] {
        egressFilters[interface, default: []].filter { $0.handle == vip.value }.map {
            SegmentProgram(vip: vip, size: $0.priority == Names.filterPriority ? 0 : $0.priority)
        }
    }

    /// Whether the interface has the program that redirects to this tunl0. A filter's handle is the index of its tunl0.
    func hasProgram(on interface: String, for tunnel: Link) -> Bool {
        filters[interface, default: []].contains {
            $0.priority == Names.filterPriority && $0.handle == UInt32(bitPattern: tunnel.index)
        }
    }
}

extension RealServerSetup {
    /// The device that decapsulates, and that has the VIPs.
    public static var deviceName: String { Names.device }
    /// The priority of the tc filter whose program decapsulates where the kernel has no ipip.
    public static var filterPriority: UInt32 { Names.filterPriority }
    /// The devices of a director on the same machine.
    public static var directorDevices: Set<String> { Names.directorDevices }
}

/// The names of the set-up's devices, routes and filters in the machine.
enum Names {
    static let device = "tunl0"
    static let module = "ipip"
    /// The devices of a director on a machine that is also a real server.
    static let directorDevices: Set<String> = ["ipvsd0", "ipvsd1"]
    /// The routing table of older versions for answers from the VIPs.
    static let table: UInt32 = 19_800
    /// The protocol (RTPROT_*) of older versions' routes and rules: `ip route show table 19800 proto 198`.
    static let routeProtocol: UInt8 = 198
    static func isOurs(_ rule: Rule) -> Bool { rule.table == table && rule.protocolID == routeProtocol }
    /// The priority of the stand-in's tc filter. The filter's handle is the index of its tunl0, which shows whether
    /// that tunl0 is gone.
    static let filterPriority: UInt32 = 198
}
