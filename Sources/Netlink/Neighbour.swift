public import Addresses
internal import CLibMNL
import Glibc

/// An entry of the kernel's neighbour table (RTM_NEWNEIGH, `ndmsg`).
public struct Neighbour: Sendable, Equatable {
    public var interface: Int32
    public var address: IPAddress
    /// The MAC address. Nil: it is not known.
    public var linkAddress: MACAddress?
    /// The state, one bit of NUD_*.
    public var state: UInt16
    /// Whether the kernel keeps the entry resolved without traffic (NTF_EXT_MANAGED).
    public var isManaged: Bool

    /// Whether the state is in NUD_VALID and the entry has a MAC address.
    public var isUsable: Bool {
        let valid = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY
        return state & UInt16(valid) != 0 && linkAddress != nil
    }

    /// Whether an administrator made the entry, so that the kernel does not resolve it.
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

    /// Returns a request for the IPv4 neighbours.
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

    /// Returns a request to manage a neighbour. Kernels before 5.16 ignore NDA_FLAGS_EXT, and obey NTF_USE alone: they
    /// resolve the address once.
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

/// An entry of a bridge's forwarding table: the port of a MAC address (RTM_NEWNEIGH of AF_BRIDGE, `ndmsg`).
struct ForwardingEntry: Sendable, Equatable {
    var port: Int32
    /// Whether the address is the bridge's own or the port's own.
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
    /// Returns the IPv4 neighbours on all interfaces.
    public func neighbours() throws(NetlinkError) -> [Neighbour] {
        try dump(Neighbour.listRequest(), "list neighbours").compactMap(Neighbour.init)
    }

    /// Returns the entry of an address. Nil: the kernel has no entry.
    public func neighbour(_ address: IPAddress, on interface: Int32) throws(NetlinkError) -> Neighbour? {
        try request(
            Neighbour.getRequest(address, on: interface), unless: [ENOENT],
            "look up neighbour \(address) on \(name(of: interface))"
        )?.lazy.compactMap(Neighbour.init).first
    }

    /// Has the kernel keep the address resolved (NTF_EXT_MANAGED). Kernels before 5.16 resolve it once. Returns false
    /// for a static entry, which stays as it is. The request would make such an entry expire.
    @discardableResult
    public func manageNeighbour(_ address: IPAddress, on interface: Int32) throws(NetlinkError) -> Bool {
        if let present = try neighbour(address, on: interface), present.isStatic { return false }
        try request(
            Neighbour.manageRequest(address, on: interface),
            "have neighbour \(address) on \(name(of: interface)) resolved")
        return true
    }

    /// Removes a neighbour. Returns false if there is no such entry.
    @discardableResult
    public func removeNeighbour(_ address: IPAddress, on interface: Int32) throws(NetlinkError) -> Bool {
        try change(
            Neighbour.removeRequest(address, on: interface), unless: [ENOENT, ENODEV, ENXIO],
            "remove neighbour \(address) from \(name(of: interface))")
    }

    /// Returns the port that a bridge has learnt for the address. Nil: it has learnt no port.
    public func port(of address: MACAddress, bridge: Int32) throws(NetlinkError) -> Int32? {
        try request(
            ForwardingEntry.getRequest(address, bridge: bridge), unless: [ENOENT, ENODEV],
            "look up \(address) in bridge \(name(of: bridge))"
        )?.lazy.compactMap(ForwardingEntry.init).first { !$0.isLocal }?.port
    }
}
