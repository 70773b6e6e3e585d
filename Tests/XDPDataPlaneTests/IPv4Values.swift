import Addresses
import LoadBalancing

/// Conveniences for IPv4 addresses, as the packet program has no others.
extension ServiceAddress {
    init(vip: IPv4Address) { self.init(vip: .v4(vip)) }

    init(vip: IPv4Address, port: UInt16, transport: TransportProtocol) {
        self.init(vip: .v4(vip), port: port, transport: transport)
    }

    var ipv4: IPv4Address { vip.ipv4 }
}

extension RealServer {
    init(address: IPv4Address, weight: UInt16 = 1, thresholds: ConnectionThresholds? = nil) {
        self.init(address: .v4(address), weight: weight, thresholds: thresholds)
    }

}

extension IPAddress {
    /// The IPv4 address. An IPv6 address is a programmer's error, as no test of the packet program has one.
    var ipv4: IPv4Address {
        guard let address = v4 else { preconditionFailure("\(self) is no IPv4 address") }
        return address
    }

    static func == (one: IPAddress, other: IPv4Address) -> Bool { one == .v4(other) }
}
