internal import CLibMNL
public import LoadBalancing

/// A device that takes packets of protocol 4: "ipip", or "sit" where it does not keep to IPv6.
public struct Tunnel: Sendable, Hashable {
    public var interface: Int32
    public var name: String
    /// IFLA_INFO_KIND
    public var kind: String
    /// IFF_UP: the kernel hands packets to no other.
    public var isUp: Bool
    /// Nil: any.
    public var local: IPv4Address?
    /// Nil: any.
    public var remote: IPv4Address?

    public init(
        interface: Int32, name: String, kind: String, isUp: Bool, local: IPv4Address? = nil, remote: IPv4Address? = nil
    ) {
        self.interface = interface
        self.name = name
        self.kind = kind
        self.isUp = isUp
        self.local = local
        self.remote = remote
    }

    init?(_ message: Message) {
        guard message.type == RTM_NEWLINK, let (header, attributes) = message.body(ifinfomsg.self),
            let name = attributes[IFLA_IFNAME]?.string, let info = attributes[IFLA_LINKINFO]?.nested,
            let kind = info[IFLA_INFO_KIND]?.string, kind == "ipip" || kind == "sit"
        else { return nil }
        let data = info[IFLA_INFO_DATA]?.nested
        // 0: any protocol, 4: IPv4, 41: IPv6, 137: MPLS.
        let carried = data?[IFLA_IPTUN_PROTO]?.bytes.first ?? (kind == "sit" ? 41 : 4)
        guard carried == 0 || carried == 4 else { return nil }
        let end = { (address: IPv4Address?) in address == IPv4Address(0) ? nil : address }
        self.init(
            interface: header.ifi_index, name: name, kind: kind, isUp: header.ifi_flags & IFF_UP.rawValue != 0,
            local: end(data?[IFLA_IPTUN_LOCAL]?.address), remote: end(data?[IFLA_IPTUN_REMOTE]?.address))
    }
}

extension RouteSocket {
    /// The devices that take packets of protocol 4.
    public func tunnels() throws(NetlinkError) -> [Tunnel] {
        try dump(Link.getRequest(), "list tunnels").compactMap(Tunnel.init)
    }
}
