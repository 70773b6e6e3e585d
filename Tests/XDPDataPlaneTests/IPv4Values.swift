import Addresses
import LoadBalancing

/// Values with IPv4 addresses, the only ones of the packet program.
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
    /// Traps for IPv6, which no test of the packet program has.
    var ipv4: IPv4Address {
        guard let address = v4 else { preconditionFailure("\(self) is no IPv4 address") }
        return address
    }

    static func == (one: IPAddress, other: IPv4Address) -> Bool { one == .v4(other) }
}
