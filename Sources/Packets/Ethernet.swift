/// An Ethernet header (IEEE 802.3), and the VLAN tags that may follow it (IEEE 802.1Q).
package enum Ethernet {
    package static let length = 14
    /// The destination's MAC address and the source's.
    package static let addresses = 0..<12
    package static let type = Field<UInt16>(12)

    package static let ipv4: UInt16 = 0x0800

    /// A tag stands between the type that announces it and the type of what follows.
    package enum Tag {
        package static let length = 4
        /// Priority, drop eligibility, and the VLAN in the low 12 bits.
        package static let control = Field<UInt16>(0)
        package static let type = Field<UInt16>(2)

        package static let vlan: UInt16 = 0x0FFF

        /// Of 802.1Q and of 802.1ad.
        package static func isAnnounced(by type: UInt16) -> Bool { type == 0x8100 || type == 0x88A8 }
    }
}
