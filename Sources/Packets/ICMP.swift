/// An ICMP header (RFC 792).
package enum ICMP {
    package static let length = 8

    package static let type = Field<UInt8>(0)
    package static let code = Field<UInt8>(1)
    /// Of header and data.
    package static let checksum = Field<UInt16>(2)
    /// Of an echo.
    package static let identifier = Field<UInt16>(4)
    /// Of an echo.
    package static let sequence = Field<UInt16>(6)
    /// Of "fragmentation needed" (RFC 1191 section 4); 0 from routers that do not say it.
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
