internal import CLinux

/// The checksum of IPv4, ICMP, TCP and UDP (RFC 1071).
package enum InternetChecksum {
    /// What belongs into the checksum's field where that is 0 now. 0 where the right checksum is in it.
    package static func of(_ bytes: ArraySlice<UInt8>) -> UInt16 {
        bytes.withUnsafeBytes { clinux_checksum($0.baseAddress, $0.count) }
    }
}
