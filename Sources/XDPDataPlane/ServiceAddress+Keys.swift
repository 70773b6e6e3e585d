internal import LoadBalancing
internal import PacketPrograms

/// What the packet program looks up.
extension ServiceAddress {
    init(key: ipvsd_listener_key) {
        let vip = IPv4Address(bigEndian: key.vip)
        let transport = TransportProtocol.allCases.first { $0.number == key.protocol }
        if key.port != 0, let transport {
            self.init(vip: vip, port: UInt16(bigEndian: key.port), transport: transport)
        } else {
            self.init(vip: vip)
        }
    }

    /// One for each protocol.
    var keys: [(key: ipvsd_listener_key, transport: TransportProtocol)] {
        (transport.map { [$0] } ?? TransportProtocol.allCases).map { transport in
            let key = ipvsd_listener_key(
                vip: vip.bigEndian, port: (port ?? 0).bigEndian, protocol: transport.number, reserved: 0)
            return (key, transport)
        }
    }
}
