public import Addresses
internal import CLibMNL
import Glibc

/// The way that the kernel would send a packet (`ip route get`).
public struct ResolvedRoute: Sendable, Equatable {
    public var interface: Int32
    /// Nil where the destination is on the link.
    public var gateway: IPAddress?
    /// The address that a packet without a source address would get.
    public var source: IPAddress?
    /// RTAX_MTU: the route's own or a learnt path MTU; nil where the interface's holds.
    public var mtu: UInt32?
    /// `mtu` is what an ICMP message told the kernel: the route's cache entry expires.
    public var isMTULearnt: Bool
    /// RTN_LOCAL: the destination is this machine.
    public var isLocal: Bool
}

extension ResolvedRoute {
    /// Nil for other messages, and for other families than IPv4 and IPv6.
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

    /// `isOfTable`: the answer is the route as it was configured (RTM_F_FIB_MATCH).
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
    /// The way that the kernel would take, `interface` forcing the outgoing one; nil where the destination is
    /// unreachable.
    public func route(
        to destination: IPAddress, from source: IPAddress? = nil, via interface: Int32? = nil
    ) throws(NetlinkError) -> ResolvedRoute? {
        let request = ResolvedRoute.request(to: destination, from: source, via: interface)
        // EACCES is a prohibit route, EINVAL a blackhole one, ENODEV an interface that went away.
        let unreachable = [ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, ENODEV]
        return try self.request(request, unless: unreachable, "find route to \(destination)")?
            .lazy.compactMap(ResolvedRoute.init).first
    }

    /// The MTU that the route to a destination was given; nil where it was given none.
    public func routeMTU(to destination: IPAddress) throws(NetlinkError) -> UInt32? {
        let request = ResolvedRoute.request(to: destination, from: nil, via: nil, isOfTable: true)
        return try self.request(request, "find route to \(destination)").lazy.compactMap(ResolvedRoute.mtu).first
    }
}
