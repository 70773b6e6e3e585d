public import Addresses
internal import CLibMNL
import Glibc

/// The kernel's route for one destination (`ip route get`).
public struct ResolvedRoute: Sendable, Equatable {
    public var interface: Int32
    /// The gateway. Nil: the destination is on the link.
    public var gateway: IPAddress?
    /// The source that the kernel chooses for a packet without a source address.
    public var source: IPAddress?
    /// The route's own MTU or a learnt path MTU, in bytes (RTAX_MTU). Nil: the interface's MTU applies.
    public var mtu: UInt32?
    /// Whether `mtu` is from an ICMP message. The route's cache entry then has a time of expiry.
    public var isMTULearnt: Bool
    /// Whether the destination is an address of this machine (RTN_LOCAL).
    public var isLocal: Bool
}

extension ResolvedRoute {
    /// Reads a message. Nil for other messages, and for families other than IPv4 and IPv6.
    init?(_ message: Message) {
        guard message.type == RTM_NEWROUTE, let (header, attributes) = message.body(rtmsg.self),
            [AF_INET, AF_INET6].contains(Int32(header.rtm_family)), let interface = attributes[RTA_OIF]?.i32
        else { return nil }
        self.interface = interface
        gateway = attributes[RTA_GATEWAY]?.address
        if let via = attributes[RTA_VIA] {
            guard let address = IPAddress(via: via) else { return nil }
            gateway = address
        }
        source = attributes[RTA_PREFSRC]?.address
        mtu = Self.mtu(message)
        isMTULearnt = mtu != nil && attributes[RTA_CACHEINFO]?.structure(rta_cacheinfo.self)?.rta_expires ?? 0 != 0
        isLocal = header.rtm_type == UInt8(RTN_LOCAL)
    }

    static func mtu(_ message: Message) -> UInt32? {
        message.body(rtmsg.self)?.attributes[RTA_METRICS]?.nested[RTAX_MTU]?.u32
    }

    /// Returns a request for the route. With `isOfTable`, the answer is the table's route as configured
    /// (RTM_F_FIB_MATCH).
    static func request(
        to destination: IPAddress, from source: IPAddress?, via interface: Int32?, isOfTable: Bool = false
    ) -> MessageBuilder {
        var message = MessageBuilder(RTM_GETROUTE)
        var header = rtmsg()
        header.rtm_family = destination.addressFamily
        header.rtm_dst_len = UInt8(destination.family.bitWidth)
        header.rtm_src_len = source.map { UInt8($0.family.bitWidth) } ?? 0
        if isOfTable { header.rtm_flags = UInt32(RTM_F_FIB_MATCH) }
        message.append(header)
        message.attribute(RTA_DST, destination)
        if let source { message.attribute(RTA_SRC, source) }
        if let interface { message.attribute(RTA_OIF, interface) }
        return message
    }
}

extension RouteSocket {
    /// Returns the kernel's route to a destination. `interface` fixes the outgoing interface. Returns nil if the
    /// destination is unreachable.
    public func route(
        to destination: IPAddress, from source: IPAddress? = nil, via interface: Int32? = nil
    ) throws(NetlinkError) -> ResolvedRoute? {
        let request = ResolvedRoute.request(to: destination, from: source, via: interface)
        // EACCES: a prohibit route. EINVAL: a blackhole route. ENODEV: an interface that is gone.
        let unreachable = [ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, ENODEV]
        return try self.request(request, unless: unreachable, "find route to \(destination)")?
            .lazy.compactMap(ResolvedRoute.init).first
    }

    /// Returns the MTU in the configured route to a destination. Nil: the route has none.
    public func routeMTU(to destination: IPAddress) throws(NetlinkError) -> UInt32? {
        let request = ResolvedRoute.request(to: destination, from: nil, via: nil, isOfTable: true)
        return try self.request(request, "find route to \(destination)").lazy.compactMap(ResolvedRoute.mtu).first
    }
}
