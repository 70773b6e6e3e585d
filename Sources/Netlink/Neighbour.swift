public import Addresses
internal import CLibMNL
import Glibc

/// What the kernel knows about an address on a link (RTM_NEWNEIGH, `ndmsg`).
public struct Neighbour: Sendable, Equatable {
    public var interface: Int32
    public var address: IPAddress
    public var linkAddress: MACAddress?
    /// NUD_*, one bit.
    public var state: UInt16
    /// NTF_EXT_MANAGED: the kernel keeps it resolved without traffic.
    public var isManaged: Bool

    /// NUD_VALID, and there is a MAC address to send to.
    public var isUsable: Bool {
        let valid = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY
        return state & UInt16(valid) != 0 && linkAddress != nil
    }

    /// An administrator's entry, which needs no resolving.
    public var isStatic: Bool { state & UInt16(NUD_PERMANENT | NUD_NOARP) != 0 }
}

extension Neighbour {
    init?(_ message: Message) {
        guard message.type == RTM_NEWNEIGH, let (header, attributes) = message.body(ndmsg.self),
            let address = attributes[NDA_DST].flatMap({ IPAddress(family: header.ndm_family, $0) })
        else { return nil }
        interface = header.ndm_ifindex
        self.address = address
        linkAddress = attributes[NDA_LLADDR]?.macAddress
        state = header.ndm_state
        isManaged = (attributes[NDA_FLAGS_EXT]?.u32 ?? 0) & UInt32(NTF_EXT_MANAGED) != 0
    }

    /// Asks for the IPv4 neighbours.
    static func listRequest() -> MessageBuilder {
        var message = MessageBuilder(RTM_GETNEIGH)
        var header = ndmsg()
        header.ndm_family = UInt8(AF_INET)
        message.append(header)
        return message
    }

    static func getRequest(_ address: IPAddress, on interface: Int32) -> MessageBuilder {
        request(MessageBuilder(RTM_GETNEIGH), address, on: interface)
    }

    /// Kernels before 5.16 ignore NDA_FLAGS_EXT and follow NTF_USE: they resolve it now, as if it were used.
    static func manageRequest(_ address: IPAddress, on interface: Int32) -> MessageBuilder {
        let builder = MessageBuilder(RTM_NEWNEIGH, flags: NLM_F_CREATE | NLM_F_REPLACE)
        var message = request(builder, address, on: interface, flags: UInt8(NTF_USE))
        message.attribute(NDA_FLAGS_EXT, UInt32(NTF_EXT_MANAGED))
        return message
    }

    static func removeRequest(_ address: IPAddress, on interface: Int32) -> MessageBuilder {
        request(MessageBuilder(RTM_DELNEIGH), address, on: interface)
    }

    private static func request(
        _ builder: MessageBuilder, _ address: IPAddress, on interface: Int32, flags: UInt8 = 0
    ) -> MessageBuilder {
        var message = builder
        var header = ndmsg()
        header.ndm_family = address.addressFamily
        header.ndm_ifindex = interface
        header.ndm_flags = flags
        message.append(header)
        message.attribute(NDA_DST, address.bytes)
        return message
    }
}

/// What a bridge has learnt of a MAC address: the port that it is behind (RTM_NEWNEIGH of AF_BRIDGE, `ndmsg`).
struct ForwardingEntry: Sendable, Equatable {
    var port: Int32
    /// The bridge itself has the address, or that port.
    var isLocal: Bool

    init?(_ message: Message) {
        guard message.type == RTM_NEWNEIGH, let (header, _) = message.body(ndmsg.self),
            header.ndm_family == UInt8(AF_BRIDGE)
        else { return nil }
        port = header.ndm_ifindex
        isLocal = header.ndm_state & UInt16(NUD_PERMANENT) != 0
    }

    static func getRequest(_ address: MACAddress, bridge: Int32) -> MessageBuilder {
        var message = MessageBuilder(RTM_GETNEIGH)
        var header = ndmsg()
        header.ndm_family = UInt8(AF_BRIDGE)
        message.append(header)
        message.attribute(NDA_LLADDR, address.bytes)
        message.attribute(NDA_MASTER, bridge)
        return message
    }
}

extension RouteSocket {
    /// The IPv4 neighbours on all interfaces.
    public func neighbours() throws(NetlinkError) -> [Neighbour] {
        try dump(Neighbour.listRequest(), "list neighbours").compactMap(Neighbour.init)
    }

    /// Nil where the kernel has no entry.
    public func neighbour(_ address: IPAddress, on interface: Int32) throws(NetlinkError) -> Neighbour? {
        try request(
            Neighbour.getRequest(address, on: interface), unless: [ENOENT],
            "look up neighbour \(address) on \(name(of: interface))"
        )?.lazy.compactMap(Neighbour.init).first
    }

    /// Has the kernel resolve the address and keep it resolved (NTF_EXT_MANAGED; before 5.16 resolve it once). An
    /// administrator's permanent entry stays as it is, since this request would make it expire. False: nothing to do.
    @discardableResult
    public func manageNeighbour(_ address: IPAddress, on interface: Int32) throws(NetlinkError) -> Bool {
        if let present = try neighbour(address, on: interface), present.isStatic { return false }
        try request(
            Neighbour.manageRequest(address, on: interface),
            "have neighbour \(address) on \(name(of: interface)) resolved")
        return true
    }

    /// False: it was not there.
    @discardableResult
    public func removeNeighbour(_ address: IPAddress, on interface: Int32) throws(NetlinkError) -> Bool {
        try change(
            Neighbour.removeRequest(address, on: interface), unless: [ENOENT, ENODEV, ENXIO],
            "remove neighbour \(address) from \(name(of: interface))")
    }

    /// The port behind which a bridge has learnt the address to be; nil where it has not.
    public func port(of address: MACAddress, bridge: Int32) throws(NetlinkError) -> Int32? {
        try request(
            ForwardingEntry.getRequest(address, bridge: bridge), unless: [ENOENT, ENODEV],
            "look up \(address) in bridge \(name(of: bridge))"
        )?.lazy.compactMap(ForwardingEntry.init).first { !$0.isLocal }?.port
    }
}
