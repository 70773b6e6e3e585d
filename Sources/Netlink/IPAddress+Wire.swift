internal import Addresses
internal import CLibMNL
import Glibc

/// Addresses as netlink messages have them.
extension IPAddress {
    /// AF_INET or AF_INET6.
    var addressFamily: UInt8 {
        switch self {
        case .v4: UInt8(AF_INET)
        case .v6: UInt8(AF_INET6)
        }
    }

    init?(family: UInt8, _ payload: Payload) {
        guard let address = payload.address, address.addressFamily == family else { return nil }
        self = address
    }

    /// Reads RTA_VIA (`rtvia`): the family in host byte order, then the address.
    init?(via payload: Payload) {
        guard let family = payload.u16.flatMap(UInt8.init(exactly:)) else { return nil }
        self.init(family: family, Payload(payload.bytes.dropFirst(MemoryLayout<UInt16>.size)))
    }
}
