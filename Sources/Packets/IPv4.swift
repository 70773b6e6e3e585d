package import Addresses

/// An IPv4 header (RFC 791).
package enum IPv4 {
    /// Without options.
    package static let length = 20

    /// The version in the high half; the header's length in words of 4 bytes in the low one.
    package static let versionAndLength = Field<UInt8>(0)
    /// Header and payload, in bytes.
    package static let totalLength = Field<UInt16>(2)
    /// Flags, and where in the datagram a fragment belongs.
    package static let fragment = Field<UInt16>(6)
    package static let timeToLive = Field<UInt8>(8)
    package static let protocolNumber = Field<UInt8>(9)
    /// Of the header alone.
    package static let checksum = Field<UInt16>(10)
    package static let source = Field<IPv4Address>(12)
    package static let destination = Field<IPv4Address>(16)

    // Bits of `fragment`.
    package static let dontFragment: UInt16 = 0x4000
    package static let moreFragments: UInt16 = 0x2000
    /// In units of 8 bytes.
    package static let fragmentOffset: UInt16 = 0x1FFF

    /// In bytes, by `versionAndLength`; nil where no IPv4 header begins like this.
    package static func headerLength(_ versionAndLength: UInt8) -> Int? {
        versionAndLength >> 4 == 4 && versionAndLength & 15 >= 5 ? Int(versionAndLength & 15) * 4 : nil
    }

    /// What follows the header and its options; nil where the bytes do not begin with a whole header.
    package static func payload<Bytes>(of packet: Bytes) -> Bytes.SubSequence?
    where Bytes: RandomAccessCollection, Bytes.Element == UInt8 {
        guard let length = packet.first.flatMap(headerLength), packet.count >= length else { return nil }
        return packet.dropFirst(length)
    }
}

/// Assigned Internet protocol numbers (IANA).
package enum IPProtocol {
    package static let icmp: UInt8 = 1
    /// IPv4 in IPv4 (RFC 2003).
    package static let ipip: UInt8 = 4
    package static let tcp = TransportProtocol.tcp.number
    package static let udp = TransportProtocol.udp.number
}
