import Glibc

extension RouteSocket {
    /// Whether the interface has a clsact qdisc.
    public func hasClsact(interface: Int32) throws(NetlinkError) -> Bool {
        try dump(TrafficControl.listQdiscsRequest(interface: interface), emptyIf: [ENODEV], "list qdiscs")
            .contains { TrafficControl.isClsact($0, interface: interface) }
    }

    /// Priority and handle of every filter on the interface's clsact qdisc, on ingress or on egress.
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
