public import Addresses
internal import CLibMNL
import Glibc

/// A route of a routing table (RTM_NEWROUTE, `rtmsg`).
public struct Route: Sendable, Hashable, Codable {
    /// The destination's network. 0.0.0.0 or :: with prefix length 0 is the default route.
    public var destination: IPAddress
    public var prefixLength: UInt8
    public var table: UInt32
    public var gateway: IPAddress?
    /// The outgoing interface. Nil: there is none (unreachable, blackhole), or there are several next hops.
    public var interface: Int32?
    /// The preferred source address (RTA_PREFSRC). Nil: the route has none.
    public var source: IPAddress?
    /// The MSS that the host announces in TCP, in bytes (RTAX_ADVMSS). Nil: the route has none.
    public var advmss: UInt32?
    /// The other attributes of RTA_METRICS (RTAX_*) in the kernel's bytes, so that a copy keeps them.
    public var otherMetrics: [UInt16: [UInt8]]
    /// The scope (RT_SCOPE_*), see `RouteScope`.
    public var scope: UInt8
    /// The type (RTN_*), see `RouteType`.
    public var type: UInt8
    /// The route's origin (RTPROT_*): 2 is the kernel, 4 an administrator.
    public var protocolID: UInt8
    /// The metric (RTA_PRIORITY). The route with the lowest metric is preferred. Nil: 0.
    public var metric: UInt32?
    /// Whether the gateway counts as on the link, without a route to it (RTNH_F_ONLINK).
    public var isOnLink: Bool
    /// The next hops of a multipath route. Empty: the route has a single next hop.
    public var nextHops: [NextHop]

    /// Whether the route has a gateway with an IPv6 address, or an encapsulation. This type does not hold these.
    public private(set) var hasUnknownParts = false

    /// A next hop of a multipath route (`rtnexthop`).
    public struct NextHop: Sendable, Hashable, Codable {
        public var interface: Int32
        public var gateway: IPAddress?
        /// The weight, from 1 to 256.
        public var weight: UInt16
        public var isOnLink: Bool

        public init(interface: Int32, gateway: IPAddress?, weight: UInt16 = 1, isOnLink: Bool = false) {
            self.interface = interface
            self.gateway = gateway
            self.weight = weight
            self.isOnLink = isOnLink
        }
    }

    public init(
        destination: IPAddress, prefixLength: UInt8, table: UInt32 = RouteTable.main, gateway: IPAddress? = nil,
        interface: Int32? = nil, source: IPAddress? = nil, advmss: UInt32? = nil,
        otherMetrics: [UInt16: [UInt8]] = [:], scope: UInt8 = RouteScope.universe, type: UInt8 = RouteType.unicast,
        protocolID: UInt8 = 4, metric: UInt32? = nil, isOnLink: Bool = false, nextHops: [NextHop] = []
    ) {
        self.destination = destination
        self.prefixLength = prefixLength
        self.table = table
        self.gateway = gateway
        self.interface = interface
        self.source = source
        self.advmss = advmss
        self.otherMetrics = otherMetrics
        self.scope = scope
        self.type = type
        self.protocolID = protocolID
        self.metric = metric
        self.isOnLink = isOnLink
        self.nextHops = nextHops
    }

    /// The route's MTU in bytes (RTAX_MTU). Nil: the route has none.
    public var mtu: UInt32? { otherMetrics[UInt16(RTAX_MTU)].flatMap { Payload($0[...]).u32 } }

    /// The destination as text, such as "10.0.0.0/24" or "default".
    public var destinationDescription: String { prefixLength == 0 ? "default" : "\(destination)/\(prefixLength)" }

    /// Reads a message. Nil for other messages, for IPv6, and for the kernel's cached routes of single destinations
    /// (RTM_F_CLONED).
    init?(_ message: Message) {
        guard message.type == RTM_NEWROUTE, let (header, attributes) = message.body(rtmsg.self),
            header.rtm_family == UInt8(AF_INET), header.rtm_flags & UInt32(RTM_F_CLONED) == 0
        else { return nil }
        destination = attributes[RTA_DST]?.address ?? .v4(IPv4Address(0))
        prefixLength = header.rtm_dst_len
        table = attributes[RTA_TABLE]?.u32 ?? UInt32(header.rtm_table)
        gateway = attributes[RTA_GATEWAY]?.address
        interface = attributes[RTA_OIF]?.i32
        source = attributes[RTA_PREFSRC]?.address
        var metrics: [UInt16: [UInt8]] = [:]
        for (type, payload) in attributes[RTA_METRICS]?.nested ?? Attributes(Payload([])) {
            metrics[UInt16(type)] = Array(payload.bytes)
        }
        advmss = metrics.removeValue(forKey: UInt16(RTAX_ADVMSS)).flatMap { Payload($0[...]).u32 }
        otherMetrics = metrics
        scope = header.rtm_scope
        type = header.rtm_type
        protocolID = header.rtm_protocol
        metric = attributes[RTA_PRIORITY]?.u32
        isOnLink = header.rtm_flags & UInt32(RTNH_F_ONLINK) != 0
        nextHops = attributes[RTA_MULTIPATH].map(NextHop.parse) ?? []
        hasUnknownParts = attributes[RTA_VIA] != nil || attributes[RTA_ENCAP] != nil
    }

    static func listRequest(table: UInt32?) -> MessageBuilder {
        var message = MessageBuilder(RTM_GETROUTE)
        var header = rtmsg()
        header.rtm_family = UInt8(AF_INET)
        message.append(header)
        if let table { message.attribute(RTA_TABLE, table) }
        return message
    }

    func addRequest(replace: Bool) -> MessageBuilder {
        request(MessageBuilder(RTM_NEWROUTE, flags: NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)))
    }

    var removeRequest: MessageBuilder { request(MessageBuilder(RTM_DELROUTE)) }

    private func request(_ builder: MessageBuilder) -> MessageBuilder {
        var message = builder
        var header = rtmsg()
        header.rtm_family = destination.addressFamily
        header.rtm_dst_len = prefixLength
        // RTA_TABLE overrides the byte in the header, which can hold only tables below 256.
        header.rtm_table = table < 256 ? UInt8(table) : UInt8(RT_TABLE_UNSPEC.rawValue)
        header.rtm_protocol = protocolID
        header.rtm_scope = scope
        header.rtm_type = type
        header.rtm_flags = isOnLink ? UInt32(RTNH_F_ONLINK) : 0
        message.append(header)
        message.attribute(RTA_TABLE, table)
        if prefixLength > 0 { message.attribute(RTA_DST, destination) }
        if let gateway { message.attribute(RTA_GATEWAY, gateway) }
        if let interface { message.attribute(RTA_OIF, interface) }
        if let source { message.attribute(RTA_PREFSRC, source) }
        if let metric { message.attribute(RTA_PRIORITY, metric) }
        if advmss != nil || !otherMetrics.isEmpty {
            message.nest(RTA_METRICS) { metrics in
                for (type, value) in otherMetrics.sorted(by: { $0.key < $1.key }) {
                    metrics.attribute(Int(type), value)
                }
                if let advmss { metrics.attribute(RTAX_ADVMSS, advmss) }
            }
        }
        if !nextHops.isEmpty {
            message.nest(RTA_MULTIPATH) { hops in nextHops.forEach { hops.append(nextHop: $0) } }
        }
        return message
    }
}

/// Numbers of routing tables (RT_TABLE_*).
public enum RouteTable {
    public static let main: UInt32 = 254
    public static let local: UInt32 = 255
}

/// Types of routes (RTN_*).
public enum RouteType {
    public static let unicast: UInt8 = 1
    public static let local: UInt8 = 2
}

extension Route.NextHop {
    /// Reads `struct rtnexthop`s. Each has attributes behind it, and padding to 4 bytes. `rtnh_len` covers the
    /// attributes.
    static func parse(_ payload: Payload) -> [Route.NextHop] {
        var hops: [Route.NextHop] = []
        var rest = payload
        while let header = rest.structure(rtnexthop.self) {
            let length = Int(header.rtnh_len)
            guard length >= MemoryLayout<rtnexthop>.size, length <= rest.bytes.count else { break }
            let attributes = Attributes(Payload(rest.bytes.prefix(length)).dropFirst(MemoryLayout<rtnexthop>.size))
            hops.append(
                Route.NextHop(
                    interface: header.rtnh_ifindex, gateway: attributes[RTA_GATEWAY]?.address,
                    weight: UInt16(header.rtnh_hops) + 1,
                    isOnLink: UInt32(header.rtnh_flags) & UInt32(RTNH_F_ONLINK) != 0))
            rest = rest.dropFirst(length)
        }
        return hops
    }
}

extension MessageBuilder {
    mutating func append(nextHop: Route.NextHop) {
        let gatewaySize = nextHop.gateway.map { MemoryLayout<nlattr>.size + $0.bytes.count } ?? 0
        let size = MemoryLayout<rtnexthop>.size + gatewaySize
        append(
            rtnexthop(
                rtnh_len: UInt16(size), rtnh_flags: nextHop.isOnLink ? UInt8(RTNH_F_ONLINK) : 0,
                rtnh_hops: UInt8(truncatingIfNeeded: nextHop.weight - 1), rtnh_ifindex: nextHop.interface))
        if let gateway = nextHop.gateway { attribute(RTA_GATEWAY, gateway) }
    }
}

extension RouteSocket {
    /// Returns the IPv4 routes of a table, or of all tables.
    public func routes(table: UInt32? = nil) throws(NetlinkError) -> [Route] {
        // ENOENT: the table has no routes.
        let messages = try dump(
            Route.listRequest(table: table), emptyIf: table == nil ? [] : [ENOENT], "list routes")
        return messages.compactMap(Route.init).filter { table == nil || $0.table == table }
    }

    /// Adds a route. With `replace`, the new route takes the place of a route with the same destination, table and
    /// metric. Without `replace`, such a route is an error (EEXIST).
    public func addRoute(_ route: Route, replace: Bool = false) throws(NetlinkError) {
        try request(
            route.addRequest(replace: replace), "add route \(route.destinationDescription) to table \(route.table)")
    }

    /// Removes a route. Returns false if there is no such route.
    @discardableResult
    public func removeRoute(_ route: Route) throws(NetlinkError) -> Bool {
        try change(
            route.removeRequest, unless: [ESRCH, ENODEV],
            "remove route \(route.destinationDescription) from table \(route.table)")
    }
}
