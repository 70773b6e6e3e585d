public import Addresses
internal import CLibMNL
import Glibc

/// An address of an interface (RTM_NEWADDR, `ifaddrmsg`).
public struct InterfaceAddress: Sendable, Hashable, Codable {
    public var interface: Int32
    /// The interface's own address (IFA_LOCAL), also on a point-to-point interface.
    public var address: IPAddress
    /// The address of the far end of a point-to-point interface (IFA_ADDRESS). The prefix length is then the peer's.
    /// Nil: IFA_ADDRESS is the own address.
    public var peer: IPAddress?
    public var prefixLength: UInt8
    /// The scope (RT_SCOPE_*), see `RouteScope`.
    public var scope: UInt8
    /// Whether the interface has an earlier address of the same subnet, which is the source of the host's packets
    /// (IFA_F_SECONDARY).
    public var isSecondary = false

    public init(
        interface: Int32, address: IPAddress, peer: IPAddress? = nil, prefixLength: UInt8,
        scope: UInt8 = RouteScope.universe
    ) {
        self.interface = interface
        self.address = address
        self.peer = peer
        self.prefixLength = prefixLength
        self.scope = scope
    }

    init?(_ message: Message) {
        guard message.type == RTM_NEWADDR, let (header, attributes) = message.body(ifaddrmsg.self),
            header.ifa_family == UInt8(AF_INET),
            let address = (attributes[IFA_LOCAL] ?? attributes[IFA_ADDRESS])?.address
        else { return nil }
        let other = attributes[IFA_ADDRESS]?.address
        self.init(
            interface: Int32(bitPattern: header.ifa_index), address: address, peer: other == address ? nil : other,
            prefixLength: header.ifa_prefixlen, scope: header.ifa_scope)
        isSecondary = Int32(header.ifa_flags) & IFA_F_SECONDARY != 0
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
        header.ifa_family = address.addressFamily
        header.ifa_prefixlen = prefixLength
        header.ifa_scope = scope
        header.ifa_index = UInt32(bitPattern: interface)
        message.append(header)
        message.attribute(IFA_LOCAL, address)
        message.attribute(IFA_ADDRESS, peer ?? address)
        return message
    }
}

/// The scope of a route or an address (RT_SCOPE_*).
public enum RouteScope {
    public static let universe: UInt8 = 0
    public static let link: UInt8 = 253
    public static let host: UInt8 = 254
}

extension InterfaceAddress {
    /// Whether the other address is in this address's subnet.
    public func contains(_ other: IPAddress) -> Bool {
        IPPrefix(around: address, length: Int(prefixLength))?.contains(other) ?? false
    }
}

extension RouteSocket {
    /// Returns the IPv4 addresses of all interfaces.
    public func addresses() throws(NetlinkError) -> [InterfaceAddress] {
        try dump(InterfaceAddress.listRequest(), "list addresses").compactMap(InterfaceAddress.init)
    }

    /// Adds an address. Returns false if the address was there already.
    @discardableResult
    public func addAddress(
        _ address: IPAddress, peer: IPAddress? = nil, prefixLength: UInt8, to interface: Int32,
        scope: UInt8 = RouteScope.universe
    ) throws(NetlinkError) -> Bool {
        let entry = InterfaceAddress(
            interface: interface, address: address, peer: peer, prefixLength: prefixLength, scope: scope)
        return try change(
            entry.addRequest, unless: [EEXIST], "add address \(address)/\(prefixLength) to \(name(of: interface))")
    }

    /// Removes an address. Returns false if the address or the interface is missing.
    @discardableResult
    public func removeAddress(
        _ address: IPAddress, peer: IPAddress? = nil, prefixLength: UInt8, from interface: Int32
    ) throws(NetlinkError) -> Bool {
        let entry = InterfaceAddress(interface: interface, address: address, peer: peer, prefixLength: prefixLength)
        return try change(
            entry.removeRequest, unless: [EADDRNOTAVAIL, ENODEV],
            "remove address \(address)/\(prefixLength) from \(name(of: interface))")
    }
}
