import Addresses
import CLinux
import Glibc
import HostState
import Netlink
import Testing

@testable import RealServerSetup

/// A small real server in a network namespace of the test's own process:
///
///     (nl-b) ---- nl-a 10.0.0.11/24, default route by 10.0.0.254
struct Host {
    let socket: RouteSocket
    let interface: Link

    init(address: String = "10.0.0.11") throws {
        try #require(clinux_unshare_network() == 0)
        socket = try RouteSocket()
        try socket.createVeth(name: "nl-a", peer: "nl-b")
        for name in ["lo", "nl-a", "nl-b"] {
            try socket.setUp(true, interface: try #require(try socket.link(named: name)).index)
        }
        interface = try #require(try socket.link(named: "nl-a"))
        try socket.addAddress(
            try #require(IPAddress(address)), prefixLength: 24, to: interface.index)
        try socket.addRoute(
            Route(
                destination: IPAddress(0), prefixLength: 0, gateway: IPAddress("10.0.0.254"),
                interface: interface.index))
    }

    /// The state that a real server's set-up may change.
    struct Snapshot: Equatable {
        var links: [String]
        var addresses: [InterfaceAddress]
        var rules: [Rule]
        var routes: Set<Route>
        var sysctls: [String: String]
        var hasClsact: Bool
        var filters: Int
        var segmentRules: SegmentRules.Presence
    }

    func snapshot() throws -> Snapshot {
        var sysctls: [String: String] = [:]
        for interface in ["all", "default", "nl-a", "lo"] {
            for name in ["arp_ignore", "arp_announce", "rp_filter", "accept_local", "forwarding"] {
                let key = "net/ipv4/conf/\(interface)/\(name)"
                sysctls[key] = try Sysctl.read(key)
            }
        }
        return Snapshot(
            links: try socket.links().map { "\($0.name) \($0.isUp) \($0.mtu)" }, addresses: try socket.addresses(),
            rules: try socket.rules(), routes: Set(try socket.routes()), sysctls: sysctls,
            hasClsact: try socket.hasClsact(interface: interface.index),
            filters: try socket.filters(interface: interface.index, ingress: true).count
                + socket.filters(interface: interface.index, ingress: false).count,
            segmentRules: try SegmentRules.presence())
    }
}

func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
