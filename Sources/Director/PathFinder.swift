internal import CLinux
internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Netlink

/// Finds interfaces and ways by the kernel's routes and neighbours, and has the kernel keep the next hops resolved.
final class PathFinder {
    private let socket: RouteSocket
    private let journal: ChangeJournal
    /// XDP_TX works there: the ingress interface, unless it is a veth.
    var transmitting: Int32?
    /// Packets are redirected by drivers, not by the stack.
    var isNative = false
    /// Kinds of devices whose drivers take frames from an XDP redirect (ndo_xdp_xmit); hardware is not asked.
    private static let redirectable = [nil, "veth", "bond", "tun"]

    init(journal: ChangeJournal, transmitting: Int32?) throws {
        self.socket = try RouteSocket()
        self.journal = journal
        self.transmitting = transmitting
    }

    enum Result {
        case found(Path)
        /// There is no way now, and this is why.
        case none(String)
    }

    /// The way to a real server: its route's interface, and the MAC of the gateway or of the server itself.
    func path(to server: IPv4Address) throws -> Result {
        guard let route = try socket.route(to: server) else { return .none("no route to \(server)") }
        if route.isLocal { return .none("\(server) is an address of this director") }
        guard let link = try socket.link(index: route.interface), let source = route.source else {
            return .none("no route to \(server)")
        }
        guard link.isEthernet, let mac = link.address else {
            return .none("the route to \(server) leaves by \(link.name), which is no Ethernet interface")
        }
        if isNative, !Self.redirectable.contains(link.kind) {
            return .none(
                "the route to \(server) leaves by \(link.name), a \(link.kind ?? "device") that takes no packets from "
                    + "native XDP; --xdp generic would do")
        }
        let nextHop = route.gateway ?? server
        try manage(nextHop, on: link)
        let neighbour = try socket.neighbour(nextHop, on: link.index)
        return .found(
            Path(
                source: source, destination: server, interface: link.index, sourceMAC: mac,
                nextHopMAC: neighbour.flatMap { $0.isUsable ? $0.linkAddress : nil },
                mtu: route.mtu ?? link.mtu, transmits: link.index == transmitting))
    }

    /// Asks for the entry where there is none that the kernel keeps by itself. One that we ask for is ours to remove.
    private func manage(_ address: IPv4Address, on link: Link) throws {
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
    /// the old one for most of a minute.
    func askAgain(_ server: IPv4Address) {
        guard let route = try? socket.route(to: server), let source = route.source,
            let link = try? socket.link(index: route.interface), link.isEthernet, let mac = link.address
        else { return }
        let nextHop = route.gateway ?? server
        _ = clinux_request_arp(link.index, mac.bytes, source.bigEndian, nextHop.bigEndian)
    }

    /// The interface that clients' packets come in on: the one named, else that of the VIP's subnet, else that of the
    /// default route.
    static func ingress(named name: String?, vip: IPv4Address) throws -> Link {
        let socket = try RouteSocket()
        let links = try socket.links()
        if let name {
            guard let link = links.first(where: { $0.name == name }) else {
                let others = links.filter { !$0.isLoopback }.map(\.name).joined(separator: ", ")
                throw DirectorError(.interface, "find interface \(name): no such interface (there are: \(others))")
            }
            return link
        }
        let addresses = try socket.addresses().filter { $0.prefixLength < 32 }
        let subnets = addresses.filter { address in
            let mask = address.prefixLength == 0 ? 0 : UInt32.max << UInt32(32 - address.prefixLength)
            return address.address.value & mask == vip.value & mask
        }
        let subnet = subnets.max { $0.prefixLength < $1.prefixLength }
        let index =
            try subnet?.interface ?? socket.routes(table: RouteTable.main).first { $0.prefixLength == 0 }?.interface
        guard let link = links.first(where: { $0.index == index }) else {
            throw DirectorError(
                .interface,
                "find the interface for \(vip): no interface has its subnet and there is no default route; say --interface"
            )
        }
        return link
    }
}
