public import Addresses
import Netlink

/// A tunnel as the operator wants it. A nil value is left to the kernel.
public struct PointToPoint: Sendable, Hashable {
    public var name: String
    public var local: IPv4Address
    public var remote: IPv4Address
    /// The TTL of the outer header. 0 means the inner header's TTL.
    public var ttl: UInt8?
    /// The largest inner packet, in bytes.
    public var mtu: UInt32?
    public var address: Address?

    /// An address of the tunnel device itself.
    public struct Address: Sendable, Hashable, CustomStringConvertible {
        public var own: IPAddress
        /// The address of the far end, or nil. If there is one, the prefix length belongs to it.
        public var peer: IPAddress?
        public var prefixLength: UInt8

        public init(own: IPAddress, peer: IPAddress? = nil, prefixLength: UInt8 = 32) {
            self.own = own
            self.peer = peer
            self.prefixLength = prefixLength
        }

        init(_ entry: InterfaceAddress) {
            self.init(own: entry.address, peer: entry.peer, prefixLength: entry.prefixLength)
        }

        /// The address in the form of ip(8).
        public var description: String { "\(own)\(peer.map { " peer \($0)" } ?? "")/\(prefixLength)" }
    }

    public init(
        name: String, local: IPv4Address, remote: IPv4Address, ttl: UInt8? = nil, mtu: UInt32? = nil,
        address: Address? = nil
    ) {
        self.name = name
        self.local = local
        self.remote = remote
        self.ttl = ttl
        self.mtu = mtu
        self.address = address
    }

    /// The valid MTUs. All links carry 68 bytes (RFC 791). The kernel's `max_mtu` of an ipip device is 65535 less the outer
    /// header.
    public static let acceptedMTU: ClosedRange<UInt32> = 68...65_515

    static func describe(ttl: UInt8) -> String { ttl == 0 ? "inherit" : "\(ttl)" }
}
