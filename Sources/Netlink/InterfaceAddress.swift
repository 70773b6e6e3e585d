internal import CLibMNL
public import LoadBalancing

/// An IPv4 address of an interface (RTM_NEWADDR, `ifaddrmsg`).
public struct InterfaceAddress: Sendable, Hashable, Codable {
    public var interface: Int32
    /// IFA_LOCAL: on a point-to-point interface the own address, not the peer's.
    public var address: IPv4Address
    public var prefixLength: UInt8
    /// RT_SCOPE_*, see `RouteScope`.
    public var scope: UInt8

    public init(interface: Int32, address: IPv4Address, prefixLength: UInt8, scope: UInt8 = RouteScope.universe) {
        self.interface = interface
        self.address = address
        self.prefixLength = prefixLength
        self.scope = scope
    }

    init?(_ message: Message) {
        guard message.type == RTM_NEWADDR, let (header, attributes) = message.body(ifaddrmsg.self),
            header.ifa_family == UInt8(AF_INET),
            let address = (attributes[IFA_LOCAL] ?? attributes[IFA_ADDRESS])?.address
        else { return nil }
        self.init(
            interface: Int32(bitPattern: header.ifa_index), address: address, prefixLength: header.ifa_prefixlen,
            scope: header.ifa_scope)
    }

    static func listRequest() -> MessageBuilder {
        var message = MessageBuilder(RTM_GETADDR)
        var header = ifaddrmsg()
        header.ifa_family = UInt8(AF_INET)
        message.append(header)
        return message
    }

    var addRequest: MessageBuilder { request(MessageBuilder(RTM_NEWADDR, flags: NLM_F_CREATE | NLM_F_EXCL)) }
    var removeRequest: MessageBuilder { request(MessageBuilder(RTM_DELADDR)) }

    private func request(_ builder: MessageBuilder) -> MessageBuilder {
        var message = builder
        var header = ifaddrmsg()
        header.ifa_family = UInt8(AF_INET)
        header.ifa_prefixlen = prefixLength
        header.ifa_scope = scope
        header.ifa_index = UInt32(bitPattern: interface)
        message.append(header)
        message.attribute(IFA_LOCAL, address)
        message.attribute(IFA_ADDRESS, address)
        return message
    }
}

/// RT_SCOPE_*: how far away a destination is, or how far an address is valid.
public enum RouteScope {
    public static let universe: UInt8 = 0
    public static let link: UInt8 = 253
    public static let host: UInt8 = 254
}
