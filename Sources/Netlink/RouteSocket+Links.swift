public import Addresses
internal import CLibMNL
import Glibc

extension RouteSocket {
    public func links() throws(NetlinkError) -> [Link] {
        try dump(Link.getRequest(), "list links").compactMap(Link.init)
    }

    /// Nil where there is no such link.
    public func link(named name: String) throws(NetlinkError) -> Link? {
        // A longer one the kernel would refuse as malformed: IFNAMSIZ is 16 with its NUL.
        guard (1..<16).contains(name.utf8.count) else { return nil }
        return try link(Link.getRequest(name: name), name)
    }

    /// Nil where there is no such link.
    public func link(index: Int32) throws(NetlinkError) -> Link? {
        guard index > 0 else { return nil }
        return try link(Link.getRequest(index: index), "interface \(index)")
    }

    /// The other end of a veth, in whatever network namespace; nil where there is none, or none that may be asked.
    public func peer(of link: Link) -> Link? {
        guard let peer = link.peer, peer > 0 else { return nil }
        return try? self.link(Link.getRequest(index: peer, namespace: link.peerNamespace), "peer of \(link.name)")
    }

    private func link(_ request: MessageBuilder, _ subject: String) throws(NetlinkError) -> Link? {
        try self.request(request, unless: [ENODEV], "look up \(subject)")?.lazy.compactMap(Link.init).first
    }

    /// The port behind which a bridge has learnt the address to be; nil where it has not.
    public func port(of address: MACAddress, bridge: Int32) throws(NetlinkError) -> Int32? {
        try request(
            ForwardingEntry.getRequest(address, bridge: bridge), unless: [ENOENT, ENODEV],
            "look up \(address) in bridge \(name(of: bridge))"
        )?.lazy.compactMap(ForwardingEntry.init).first { !$0.isLocal }?.port
    }

    public func createVeth(name: String, peer: String) throws(NetlinkError) {
        try request(Link.createVethRequest(name: name, peer: peer), "create veth pair \(name), \(peer)")
    }

    /// Creates a device that needs no parameters; `kind` is IFLA_INFO_KIND ("ipip": a tunnel from anywhere to
    /// anywhere).
    public func createLink(name: String, kind: String) throws(NetlinkError) {
        try request(Link.createRequest(name: name, kind: kind), "create \(kind) device \(name)")
    }

    /// False: it was not there.
    @discardableResult
    public func deleteLink(index: Int32) throws(NetlinkError) -> Bool {
        try change(Link.deleteRequest(index: index), unless: [ENODEV], "delete \(name(of: index))")
    }

    public func setUp(_ up: Bool, interface: Int32) throws(NetlinkError) {
        try request(
            Link.setRequest(index: interface, flag: IFF_UP, on: up), "set \(name(of: interface)) \(up ? "up" : "down")")
    }

    public func setARP(_ on: Bool, interface: Int32) throws(NetlinkError) {
        try request(
            Link.setRequest(index: interface, flag: IFF_NOARP, on: !on),
            "set ARP \(on ? "on" : "off") on \(name(of: interface))")
    }

    public func setMTU(_ mtu: UInt32, interface: Int32) throws(NetlinkError) {
        try request(Link.setRequest(index: interface, mtu: mtu), "set MTU of \(name(of: interface)) to \(mtu)")
    }

    /// For error messages: the device's name, or its number where it has gone.
    func name(of index: Int32) -> String {
        guard let link = try? link(index: index) else { return "interface \(index)" }
        return link.name
    }
}
