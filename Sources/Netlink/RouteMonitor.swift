internal import CLibMNL
import Glibc

/// A monitor of changes in the network namespace where it was opened. Changes by this process count, too. The monitor
/// returns only kinds of changes, as messages with details may be lost. The new state is read by a `RouteSocket`.
public final class RouteMonitor {
    public enum Kind: Sendable, Hashable, CaseIterable {
        case link, address
        /// Routes and rules.
        case route
        case neighbour
    }

    private let socket: NetlinkSocket

    public init() throws(NetlinkError) {
        let groups = [RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE]
        socket = try NetlinkSocket(groups: groups.reduce(0) { $0 | 1 << ($1.rawValue - 1) }, blocking: false)
    }

    /// The socket's descriptor, which is readable after a change. The monitor owns it.
    public var descriptor: Int32 { socket.descriptor }

    /// Reads all pending messages and returns the kinds of changes. It does not block. After lost messages (ENOBUFS,
    /// ENOSPC), it returns all kinds.
    public func drain() throws(NetlinkError) -> Set<Kind> {
        var kinds: Set<Kind> = []
        while true {
            switch socket.receive() {
            case .success(let messages):
                kinds.formUnion(messages.compactMap { Self.kind(of: $0.type) })
            case .failure(let failure) where failure.code == EAGAIN:
                return kinds
            case .failure(let failure) where failure.code == ENOBUFS || failure.code == ENOSPC:
                kinds = Set(Kind.allCases)
            case .failure(let failure):
                throw NetlinkError("watch for network changes", code: failure.code)
            }
        }
    }

    static func kind(of type: Int) -> Kind? {
        switch type {
        case RTM_NEWLINK, RTM_DELLINK: .link
        case RTM_NEWADDR, RTM_DELADDR: .address
        case RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWRULE, RTM_DELRULE: .route
        case RTM_NEWNEIGH, RTM_DELNEIGH: .neighbour
        default: nil
        }
    }
}
