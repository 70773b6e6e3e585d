public import Addresses
internal import CLibMNL

/// A device that takes packets of protocol 4: an "ipip" device, or a "sit" device that is not for IPv6 only.
public struct Tunnel: Sendable, Hashable {
    public var interface: Int32
    public var name: String
    /// The kind, "ipip" or "sit" (IFLA_INFO_KIND).
    public var kind: String
    /// Whether the device is up (IFF_UP). The kernel delivers packets only to tunnels that are up.
    public var isUp: Bool
    /// The near end of the tunnel. Nil: any address.
    public var local: IPv4Address?
    /// The far end of the tunnel. Nil: any address.
    public var remote: IPv4Address?
    /// The TTL of the outer header. 0: the inner header's TTL.
    public var ttl: UInt8
    /// Whether the outer header always has DF (IFLA_IPTUN_PMTUDISC).
    public var discoversPathMTU: Bool
    /// The largest inner packet, in bytes.
    public var mtu: UInt32
    /// The device that the tunnel is bound to. Nil: the device of the route to `remote`.
    public var lower: Int32?

    public init(
        interface: Int32, name: String, kind: String, isUp: Bool, local: IPv4Address? = nil, remote: IPv4Address? = nil,
        ttl: UInt8 = 0, discoversPathMTU: Bool = true, mtu: UInt32 = 1480, lower: Int32? = nil
    ) {
        self.interface = interface
        self.name = name
        self.kind = kind
        self.isUp = isUp
        self.local = local
        self.remote = remote
        self.ttl = ttl
        self.discoversPathMTU = discoversPathMTU
        self.mtu = mtu
        self.lower = lower
    }

    init?(_ message: Message) {
        guard message.type == RTM_NEWLINK, let (header, attributes) = message.body(ifinfomsg.self),
            let name = attributes[IFLA_IFNAME]?.string, let info = attributes[IFLA_LINKINFO]?.nested,
            let kind = info[IFLA_INFO_KIND]?.string, kind == "ipip" || kind == "sit"
        else { return nil }
        let data = info[IFLA_INFO_DATA]?.nested
        // The protocol inside the tunnel. 0: any protocol, 4: IPv4, 41: IPv6, 137: MPLS.
        let carried = data?[IFLA_IPTUN_PROTO]?.bytes.first ?? (kind == "sit" ? 41 : 4)
        guard carried == 0 || carried == 4 else { return nil }
        let end = { (address: IPAddress?) in address.flatMap { $0.isUnspecified ? nil : $0.v4 } }
        let lower = data?[IFLA_IPTUN_LINK]?.i32
        self.init(
            interface: header.ifi_index, name: name, kind: kind, isUp: header.ifi_flags & IFF_UP.rawValue != 0,
            local: end(data?[IFLA_IPTUN_LOCAL]?.address), remote: end(data?[IFLA_IPTUN_REMOTE]?.address),
            ttl: data?[IFLA_IPTUN_TTL]?.bytes.first ?? 0,
            discoversPathMTU: data?[IFLA_IPTUN_PMTUDISC]?.bytes.first != 0,
            mtu: attributes[IFLA_MTU]?.u32 ?? 0, lower: lower == 0 ? nil : lower)
    }

    /// Returns a request for a tunnel. With `mtu` nil, the kernel takes the outgoing interface's MTU less 20. A fixed
    /// TTL needs path MTU discovery (`ipip_netlink_parms`), so the request turns that on.
    static func createRequest(
        name: String, local: IPv4Address, remote: IPv4Address, ttl: UInt8, mtu: UInt32?
    ) -> MessageBuilder {
        var message = Link.createRequest(name: name, kind: "ipip") { data in
            data.attribute(IFLA_IPTUN_LOCAL, .v4(local))
            data.attribute(IFLA_IPTUN_REMOTE, .v4(remote))
            data.attribute(IFLA_IPTUN_TTL, ttl)
            data.attribute(IFLA_IPTUN_PMTUDISC, UInt8(1))
        }
        if let mtu { message.attribute(IFLA_MTU, mtu) }
        return message
    }
}

extension RouteSocket {
    /// Returns the devices that take packets of protocol 4.
    public func tunnels() throws(NetlinkError) -> [Tunnel] {
        try dump(Link.getRequest(), "list tunnels").compactMap(Tunnel.init)
    }

    /// Creates an ipip device. With `ttl` 0, packets keep the inner TTL. With `mtu` nil, the MTU is the outgoing
    /// interface's less 20. The error is EEXIST if there is a device of that name, or a tunnel between these ends.
    public func createTunnel(
        name: String, local: IPv4Address, remote: IPv4Address, ttl: UInt8 = 0, mtu: UInt32? = nil
    ) throws(NetlinkError) {
        try request(
            Tunnel.createRequest(name: name, local: local, remote: remote, ttl: ttl, mtu: mtu),
            "create ipip device \(name)")
    }
}
