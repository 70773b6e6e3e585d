internal import Addresses
internal import CLibMNL

extension Route.NextHop {
    /// `struct rtnexthop`s, each followed by its attributes and padded to 4 bytes; `rtnh_len` covers both.
    static func parse(_ payload: Payload) -> [Route.NextHop] {
        var hops: [Route.NextHop] = []
        var rest = payload
        while let header = rest.structure(rtnexthop.self) {
            let length = Int(header.rtnh_len)
            guard length >= MemoryLayout<rtnexthop>.size, length <= rest.bytes.count else { break }
            let attributes = Attributes(Payload(rest.bytes.prefix(length)).dropFirst(MemoryLayout<rtnexthop>.size))
            hops.append(
                Route.NextHop(
                    interface: header.rtnh_ifindex, gateway: attributes[RTA_GATEWAY]?.address,
                    weight: UInt16(header.rtnh_hops) + 1,
                    isOnLink: UInt32(header.rtnh_flags) & UInt32(RTNH_F_ONLINK) != 0))
            rest = rest.dropFirst(length)
        }
        return hops
    }
}

extension MessageBuilder {
    mutating func append(nextHop: Route.NextHop) {
        let gatewaySize = nextHop.gateway.map { MemoryLayout<nlattr>.size + $0.bytes.count } ?? 0
        let size = MemoryLayout<rtnexthop>.size + gatewaySize
        append(
            rtnexthop(
                rtnh_len: UInt16(size), rtnh_flags: nextHop.isOnLink ? UInt8(RTNH_F_ONLINK) : 0,
                rtnh_hops: UInt8(truncatingIfNeeded: nextHop.weight - 1), rtnh_ifindex: nextHop.interface))
        if let gateway = nextHop.gateway { attribute(RTA_GATEWAY, gateway) }
    }
}
