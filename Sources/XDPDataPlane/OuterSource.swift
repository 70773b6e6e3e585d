internal import LoadBalancing
internal import PacketPrograms

extension IPv4Prefix {
    /// The address of this prefix that a flow's outer packets come from.
    func outerSource(client: IPv4Address, clientPort: UInt16) -> IPv4Address {
        let hash = ipvsd_outer_host(client.bigEndian, clientPort.bigEndian)
        return IPv4Address(address.value | IPv4Address(bigEndian: hash).value & hostMask)
    }
}
