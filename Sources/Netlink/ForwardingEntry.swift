internal import Addresses
internal import CLibMNL

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
