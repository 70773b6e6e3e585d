public import Addresses
internal import CLibMNL

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
