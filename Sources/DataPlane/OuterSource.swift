internal import LoadBalancing

extension IPv4Prefix {
    /// The address of this prefix that a flow's outer packets come from: `outer_source` of forward.h.
    func outerSource(client: IPv4Address, clientPort: UInt16) -> IPv4Address {
        var hash = (client.bigEndian ^ UInt32(clientPort.bigEndian) &* 0x9E37_79B1) &* 0x85EB_CA6B
        hash = (hash ^ hash >> 15) &* 0xC2B2_AE35
        hash ^= hash >> 16
        return IPv4Address(address.value | IPv4Address(bigEndian: hash).value & hostMask)
    }
}
