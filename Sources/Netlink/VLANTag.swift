/// A tag of IEEE 802.1Q or 802.1ad, as a VLAN device adds it.
public struct VLANTag: Sendable, Hashable {
    /// The tag protocol identifier: 0x8100 for 802.1Q, 0x88A8 for 802.1ad.
    public var protocolID: UInt16
    /// 0 to 4095
    public var id: UInt16

    public init(protocolID: UInt16 = 0x8100, id: UInt16) {
        self.protocolID = protocolID
        self.id = id
    }
}
