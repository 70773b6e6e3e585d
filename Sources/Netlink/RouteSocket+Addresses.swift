public import Addresses
import Glibc

extension RouteSocket {
    /// The IPv4 addresses of all interfaces.
    public func addresses() throws(NetlinkError) -> [InterfaceAddress] {
        try dump(InterfaceAddress.listRequest(), "list addresses").compactMap(InterfaceAddress.init)
    }

    /// False: it was there.
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

    /// False: it was not there.
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
