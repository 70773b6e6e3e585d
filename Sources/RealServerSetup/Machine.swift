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

extension RealServerSetup {
    /// The device that unwraps, and holds the VIPs.
    public static var deviceName: String { Names.device }
    /// Of the tc filter of the program that unwraps where the kernel has no ipip.
    public static var filterPriority: UInt32 { Names.filterPriority }
    /// Devices that a director on the same machine made for itself.
    public static var directorDevices: Set<String> { Names.directorDevices }
}

/// The names by which what we put into the machine is known, listed and removed.
enum Names {
    static let device = "tunl0"
    static let module = "ipip"
    /// A director's own, on a machine that is both.
    static let directorDevices: Set<String> = ["ipvsd0", "ipvsd1"]
    /// The routing table to which older versions led answers from the VIPs.
    static let table: UInt32 = 19_800
    /// Their routes' and rules' RTPROT_*: `ip route show table 19800 proto 198`.
    static let routeProtocol: UInt8 = 198
    static func isOurs(_ rule: Rule) -> Bool { rule.table == table && rule.protocolID == routeProtocol }
    /// The tc filter's; its handle is tunl0's index, so that a filter for a tunl0 that is gone is told apart.
    static let filterPriority: UInt32 = 198
}
