public import Addresses
internal import CLibMNL
import Glibc
internal import SystemCalls

/// A network device (RTM_NEWLINK, `ifinfomsg`).
public struct Link: Sendable, Equatable {
    public var index: Int32
    public var name: String
    /// The kind (IFLA_INFO_KIND), such as "veth", "ipip" or "tun". Nil: hardware.
    public var kind: String?
    /// The largest IP packet, in bytes.
    public var mtu: UInt32
    /// Whether the device is administratively up (IFF_UP).
    public var isUp: Bool
    /// Whether the device has a carrier (IFF_LOWER_UP).
    public var hasCarrier: Bool
    public var isLoopback: Bool
    /// The type of link layer (ARPHRD_*). 1: Ethernet, 768: IPIP, 65534: none, as of a TUN device.
    public var hardwareType: UInt16
    /// The MAC address. Nil: the device has none.
    public var address: MACAddress?
    /// The index of the bridge, bond or VRF that the device is in. Nil: it is in none.
    public var master: Int32?
    /// The index of the device below a VLAN, a macvlan or the like (IFLA_LINK). Nil: there is none in this network
    /// namespace. A veth has nil, as its IFLA_LINK is the peer.
    public var lower: Int32?
    /// A VLAN device's tag (IFLA_VLAN_ID, IFLA_VLAN_PROTOCOL). Nil for other devices.
    public var tag: VLANTag?
    /// Whether the device is a bridge that filters VLANs (IFLA_BR_VLAN_FILTERING).
    public var filtersVLANs: Bool
    /// Whether the device resolves no addresses (IFF_NOARP).
    public var noARP: Bool
    /// The counter tx_errors of IFLA_STATS64.
    public var transmitErrors: UInt64
    /// The counter tx_dropped of IFLA_STATS64.
    public var transmitDropped: UInt64
    /// The alternative names of the device (IFLA_ALT_IFNAME), of up to 127 bytes each.
    public var alternativeNames: [String] = []
    /// The hardware's own address (IFLA_PERM_ADDRESS). Nil: the driver has none.
    public var permanentAddress: MACAddress?
    /// The index of a veth's peer, in the peer's network namespace. Nil for other devices.
    public var peer: Int32?
    /// The kernel's id of the peer's network namespace (IFLA_LINK_NETNSID). Nil: it is the same namespace.
    public var peerNamespace: Int32?

    public var isEthernet: Bool { hardwareType == UInt16(ARPHRD_ETHER) && !isLoopback }
}

extension [Link] {
    /// Returns the link of that name, or else the link with that alternative name.
    public func called(_ name: String) -> Link? {
        first { $0.name == name } ?? first { $0.alternativeNames.contains(name) }
    }
}

extension Link {
    init?(_ message: Message) {
        guard message.type == RTM_NEWLINK, let (header, attributes) = message.body(ifinfomsg.self),
            let name = attributes[IFLA_IFNAME]?.string
        else { return nil }
        index = header.ifi_index
        self.name = name
        let info = attributes[IFLA_LINKINFO]?.nested
        let kind = info?[IFLA_INFO_KIND]?.string
        let data = info?[IFLA_INFO_DATA]?.nested
        self.kind = kind
        peer = kind == "veth" ? attributes[IFLA_LINK]?.i32 : nil
        peerNamespace = kind == "veth" ? attributes[IFLA_LINK_NETNSID]?.i32 : nil
        lower = kind == "veth" || attributes[IFLA_LINK_NETNSID] != nil ? nil : attributes[IFLA_LINK]?.i32
        if kind == "vlan", let id = data?[IFLA_VLAN_ID]?.u16 {
            let protocolID = data?[IFLA_VLAN_PROTOCOL]?.u16.map(UInt16.init(bigEndian:))
            tag = VLANTag(protocolID: protocolID ?? 0x8100, id: id)
        }
        filtersVLANs = kind == "bridge" && data?[IFLA_BR_VLAN_FILTERING]?.bytes.first ?? 0 != 0
        mtu = attributes[IFLA_MTU]?.u32 ?? 0
        isUp = header.ifi_flags & IFF_UP.rawValue != 0
        hasCarrier = header.ifi_flags & IFF_LOWER_UP.rawValue != 0
        isLoopback = header.ifi_flags & IFF_LOOPBACK.rawValue != 0
        noARP = header.ifi_flags & IFF_NOARP.rawValue != 0
        hardwareType = header.ifi_type
        address = attributes[IFLA_ADDRESS]?.macAddress
        master = attributes[IFLA_MASTER]?.i32
        // Newer kernels append counters, so single fields are read instead of the structure.
        let statistics = attributes[IFLA_STATS64]
        func counter(_ field: KeyPath<rtnl_link_stats64, __u64>) -> UInt64 {
            let offset = MemoryLayout<rtnl_link_stats64>.offset(ofStored: field)
            return statistics?.dropFirst(offset).structure(UInt64.self) ?? 0
        }
        transmitErrors = counter(\.tx_errors)
        transmitDropped = counter(\.tx_dropped)
        let names = attributes[IFLA_PROP_LIST]?.nested.filter { $0.type == IFLA_ALT_IFNAME }
        alternativeNames = names?.map { $0.payload.string } ?? []
        permanentAddress = attributes[IFLA_PERM_ADDRESS]?.macAddress
    }
}

extension Link {
    private static func header(index: Int32 = 0, flags: UInt32 = 0, change: UInt32 = 0) -> ifinfomsg {
        var header = ifinfomsg()
        header.ifi_index = index
        header.ifi_flags = flags
        header.ifi_change = change
        return header
    }

    static func getRequest(index: Int32 = 0, name: String? = nil, namespace: Int32? = nil) -> MessageBuilder {
        var message = MessageBuilder(RTM_GETLINK)
        message.append(header(index: index))
        if let name { message.attribute(IFLA_IFNAME, name) }
        if let namespace { message.attribute(IFLA_IF_NETNSID, namespace) }
        return message
    }

    /// Returns a request that creates a veth pair. `VETH_INFO_PEER` holds the peer's `ifinfomsg` and attributes.
    static func createVethRequest(name: String, peer: String) -> MessageBuilder {
        createRequest(name: name, kind: "veth") { data in
            data.nest(VETH_INFO_PEER) {
                $0.append(header())
                $0.attribute(IFLA_IFNAME, peer)
            }
        }
    }

    static func createRequest(
        name: String, kind: String, data: ((inout MessageBuilder) -> Void)? = nil
    ) -> MessageBuilder {
        var message = MessageBuilder(RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL)
        message.append(header())
        message.attribute(IFLA_IFNAME, name)
        message.nest(IFLA_LINKINFO) {
            $0.attribute(IFLA_INFO_KIND, kind)
            if let data { $0.nest(IFLA_INFO_DATA, data) }
        }
        return message
    }

    static func deleteRequest(index: Int32) -> MessageBuilder {
        var message = MessageBuilder(RTM_DELLINK)
        message.append(header(index: index))
        return message
    }

    /// Returns a request that sets or clears one flag (IFF_*).
    static func setRequest(index: Int32, flag: net_device_flags, on: Bool) -> MessageBuilder {
        var message = MessageBuilder(RTM_NEWLINK)
        message.append(header(index: index, flags: on ? flag.rawValue : 0, change: flag.rawValue))
        return message
    }

    static func setRequest(index: Int32, mtu: UInt32) -> MessageBuilder {
        var message = MessageBuilder(RTM_NEWLINK)
        message.append(header(index: index))
        message.attribute(IFLA_MTU, mtu)
        return message
    }
}

/// A tag of IEEE 802.1Q or 802.1ad, as a VLAN device adds it.
public struct VLANTag: Sendable, Hashable {
    /// The tag protocol identifier: 0x8100 for 802.1Q, 0x88A8 for 802.1ad.
    public var protocolID: UInt16
    /// The VLAN, from 0 to 4095.
    public var id: UInt16

    public init(protocolID: UInt16 = 0x8100, id: UInt16) {
        self.protocolID = protocolID
        self.id = id
    }
}

extension RouteSocket {
    public func links() throws(NetlinkError) -> [Link] {
        try dump(Link.getRequest(), "list links").compactMap(Link.init)
    }

    /// Returns the link of that name. Nil: there is none.
    public func link(named name: String) throws(NetlinkError) -> Link? {
        // The kernel refuses a longer name as malformed: IFNAMSIZ is 16 with the NUL.
        guard (1..<16).contains(name.utf8.count) else { return nil }
        return try link(Link.getRequest(name: name), name)
    }

    /// Returns the link with that index. Nil: there is none.
    public func link(index: Int32) throws(NetlinkError) -> Link? {
        guard index > 0 else { return nil }
        return try link(Link.getRequest(index: index), "interface \(index)")
    }

    /// Returns the other end of a veth, in any network namespace. Nil: there is none, or the kernel refuses a look-up
    /// in its namespace.
    public func peer(of link: Link) -> Link? {
        guard let peer = link.peer, peer > 0 else { return nil }
        return try? self.link(Link.getRequest(index: peer, namespace: link.peerNamespace), "peer of \(link.name)")
    }

    private func link(_ request: MessageBuilder, _ subject: String) throws(NetlinkError) -> Link? {
        try self.request(request, unless: [ENODEV], "look up \(subject)")?.lazy.compactMap(Link.init).first
    }

    public func createVeth(name: String, peer: String) throws(NetlinkError) {
        try request(Link.createVethRequest(name: name, peer: peer), "create veth pair \(name), \(peer)")
    }

    /// Creates a device without parameters. `kind` is IFLA_INFO_KIND. The kind "ipip" makes a tunnel between any ends.
    public func createLink(name: String, kind: String) throws(NetlinkError) {
        try request(Link.createRequest(name: name, kind: kind), "create \(kind) device \(name)")
    }

    /// Deletes a link. Returns false if there is no such link.
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

    /// Returns the device's name for error messages, or "interface INDEX" if the device is gone.
    func name(of index: Int32) -> String {
        guard let link = try? link(index: index) else { return "interface \(index)" }
        return link.name
    }
}
