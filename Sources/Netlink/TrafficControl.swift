internal import CLibMNL
import Glibc

/// The clsact qdisc of an interface and its filters (`tcmsg`). libbpf attaches the programs.
enum TrafficControl {
    /// The parent of the qdisc (TC_H_CLSACT).
    static let clsact: UInt32 = 0xFFFF_FFF1
    /// The parent of the filters on ingress, with TC_H_MIN_INGRESS.
    static let ingress: UInt32 = 0xFFFF_FFF2
    /// The parent of the filters on egress, with TC_H_MIN_EGRESS.
    static let egress: UInt32 = 0xFFFF_FFF3

    static func listQdiscsRequest(interface: Int32) -> MessageBuilder {
        request(RTM_GETQDISC, interface: interface, parent: 0)
    }

    static func listFiltersRequest(interface: Int32, parent: UInt32) -> MessageBuilder {
        request(RTM_GETTFILTER, interface: interface, parent: parent)
    }

    private static func request(_ type: Int, interface: Int32, parent: UInt32) -> MessageBuilder {
        var message = MessageBuilder(type)
        var header = tcmsg()
        header.tcm_ifindex = interface
        header.tcm_parent = parent
        message.append(header)
        return message
    }

    /// Whether the message is about the interface's clsact qdisc. The kernel's dump has the qdiscs of all interfaces.
    static func isClsact(_ message: Message, interface: Int32) -> Bool {
        guard message.type == RTM_NEWQDISC, let (header, attributes) = message.body(tcmsg.self) else { return false }
        return header.tcm_ifindex == interface && attributes[TCA_KIND]?.string == "clsact"
    }

    /// Returns a filter's priority and handle. Nil for the kernel's extra entry of each priority.
    static func filter(_ message: Message) -> (priority: UInt32, handle: UInt32)? {
        guard message.type == RTM_NEWTFILTER, let (header, _) = message.body(tcmsg.self), header.tcm_handle != 0
        else { return nil }
        return (header.tcm_info >> 16, header.tcm_handle)
    }
}

extension RouteSocket {
    /// Whether the interface has a clsact qdisc.
    public func hasClsact(interface: Int32) throws(NetlinkError) -> Bool {
        try dump(TrafficControl.listQdiscsRequest(interface: interface), emptyIf: [ENODEV], "list qdiscs")
            .contains { TrafficControl.isClsact($0, interface: interface) }
    }

    /// Returns the priority and the handle of each filter on the interface's clsact qdisc, on ingress or else on
    /// egress.
    public func filters(
        interface: Int32, ingress: Bool
    ) throws(NetlinkError) -> [(priority: UInt32, handle: UInt32)] {
        let parent = ingress ? TrafficControl.ingress : TrafficControl.egress
        // EINVAL: there is no such qdisc.
        return try dump(
            TrafficControl.listFiltersRequest(interface: interface, parent: parent), emptyIf: [ENODEV, EINVAL],
            "list filters of \(name(of: interface))"
        ).compactMap(TrafficControl.filter)
    }
}
