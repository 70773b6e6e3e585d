package import Addresses
internal import CLinux

/// An Ethernet header (IEEE 802.3), and the VLAN tags that may follow it (IEEE 802.1Q).
package enum Ethernet {
    package static let length = 14
    /// The destination's MAC address and the source's.
    package static let addresses = 0..<12
    package static let type = Field<UInt16>(12)

    package static let ipv4: UInt16 = 0x0800

    /// A VLAN tag. It follows the type field that announces it, and ends with the type of the next header.
    package enum Tag {
        package static let length = 4
        /// The priority, the drop eligibility, and the VLAN in the low 12 bits.
        package static let control = Field<UInt16>(0)
        package static let type = Field<UInt16>(2)

        package static let vlan: UInt16 = 0x0FFF

        /// Returns whether the type announces a tag of 802.1Q or 802.1ad.
        package static func isAnnounced(by type: UInt16) -> Bool { type == 0x8100 || type == 0x88A8 }
    }
}

/// An IPv4 header (RFC 791).
package enum IPv4 {
    /// The length of a header without options, in bytes.
    package static let length = 20

    /// The version in the high half, and the header's length in words of 4 bytes in the low half.
    package static let versionAndLength = Field<UInt8>(0)
    /// The length of header and payload, in bytes.
    package static let totalLength = Field<UInt16>(2)
    /// The flags, and the fragment's offset in the datagram.
    package static let fragment = Field<UInt16>(6)
    package static let timeToLive = Field<UInt8>(8)
    package static let protocolNumber = Field<UInt8>(9)
    /// The checksum of the header alone.
    package static let checksum = Field<UInt16>(10)
    package static let source = Field<IPv4Address>(12)
    package static let destination = Field<IPv4Address>(16)

    // Bits of `fragment`.
    package static let dontFragment: UInt16 = 0x4000
    package static let moreFragments: UInt16 = 0x2000
    /// The mask of the fragment's offset, which is in units of 8 bytes.
    package static let fragmentOffset: UInt16 = 0x1FFF

    /// Returns the header's length in bytes. Nil if no valid IPv4 header has this first byte.
    package static func headerLength(_ versionAndLength: UInt8) -> Int? {
        versionAndLength >> 4 == 4 && versionAndLength & 15 >= 5 ? Int(versionAndLength & 15) * 4 : nil
    }

    /// Returns the bytes behind the header and its options. Nil if the bytes do not begin with a complete header.
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

/// An ICMP header (RFC 792).
package enum ICMP {
    package static let length = 8

    package static let type = Field<UInt8>(0)
    package static let code = Field<UInt8>(1)
    /// The checksum of header and data.
    package static let checksum = Field<UInt16>(2)
    /// The identifier of an echo request or reply.
    package static let identifier = Field<UInt16>(4)
    /// The sequence number of an echo request or reply.
    package static let sequence = Field<UInt16>(6)
    /// The MTU in a "fragmentation needed" (RFC 1191 section 4). It is 0 in messages of routers that do not support RFC
    /// 1191.
    package static let nextHopMTU = Field<UInt16>(6)

    // Types.
    package static let echoReply: UInt8 = 0
    package static let unreachable: UInt8 = 3
    package static let echoRequest: UInt8 = 8
    package static let timeExceeded: UInt8 = 11

    // Codes of `unreachable`.
    package static let portUnreachable: UInt8 = 3
    package static let fragmentationNeeded: UInt8 = 4
}

/// The ports, with which the headers of TCP and UDP begin.
package enum Ports {
    package static let source = Field<UInt16>(0)
    package static let destination = Field<UInt16>(2)
}

/// The fields of a TCP header (RFC 9293) behind `Ports`. Their offsets count from the header's first byte.
package enum TCP {
    /// The length of a header without options, ports included, in bytes.
    package static let length = 20

    package static let sequence = Field<UInt32>(4)
    package static let acknowledgement = Field<UInt32>(8)
    /// The header's length in words of 4 bytes, in the high half of the byte.
    package static let dataOffset = Field<UInt8>(12)
    package static let flags = Field<Flags>(13)
    package static let window = Field<UInt16>(14)

    package struct Flags: OptionSet, FieldValue {
        package let rawValue: UInt8

        package init(rawValue: UInt8) { self.rawValue = rawValue }

        package static let fin = Flags(rawValue: 0x01)
        package static let syn = Flags(rawValue: 0x02)
        package static let rst = Flags(rawValue: 0x04)
        package static let psh = Flags(rawValue: 0x08)
        package static let ack = Flags(rawValue: 0x10)
        package static let urg = Flags(rawValue: 0x20)
        package static let ece = Flags(rawValue: 0x40)
        package static let cwr = Flags(rawValue: 0x80)

        package var number: UInt8 { rawValue }
        package init(number: UInt8) { self.init(rawValue: number) }
    }
}

/// The fields of a UDP header (RFC 768) behind `Ports`. Their offsets count from the header's first byte.
package enum UDP {
    /// The length of a header, ports included, in bytes.
    package static let length = 8

    /// The length of header and data, in bytes.
    package static let totalLength = Field<UInt16>(4)
}

/// The checksum of IPv4, ICMP, TCP and UDP (RFC 1071).
package enum InternetChecksum {
    /// Returns the value of the checksum field for bytes in which the field is 0. Returns 0 for bytes with a correct
    /// checksum.
    package static func of(_ bytes: ArraySlice<UInt8>) -> UInt16 {
        bytes.withUnsafeBytes { clinux_checksum($0.baseAddress, $0.count) }
    }
}
