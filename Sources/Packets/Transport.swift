/// What TCP's and UDP's headers begin with.
package enum Ports {
    package static let source = Field<UInt16>(0)
    package static let destination = Field<UInt16>(2)
}

/// A TCP header (RFC 9293) behind its ports.
package enum TCP {
    /// With the ports, without options.
    package static let length = 20

    package static let sequence = Field<UInt32>(4)
    package static let acknowledgement = Field<UInt32>(8)
    /// The header's length in words of 4 bytes, in the high half.
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

/// A UDP header (RFC 768) behind its ports.
package enum UDP {
    /// With the ports.
    package static let length = 8

    /// Header and data, in bytes.
    package static let totalLength = Field<UInt16>(4)
}
