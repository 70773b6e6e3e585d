/// A client's new connections go to the real server of its last one (ipvsadm -p, -M).
public struct Persistence: Hashable, Sendable {
    /// Five minutes; what ipvsadm and keepalived set without a number is six.
    public static let defaultTimeout = 300
    /// What the packet program's stamps can tell: 2 h 26 min, as for every time-out.
    public static let timeouts = 1...8796

    /// Seconds since the client's last packet.
    public var timeout: Int
    /// Clients that share so many leading bits of their address are one.
    public var prefixLength: Int

    public init(timeout: Int = defaultTimeout, prefixLength: Int = 32) {
        precondition(Self.timeouts.contains(timeout) && (1...32).contains(prefixLength))
        self.timeout = timeout
        self.prefixLength = prefixLength
    }

    /// In host byte order.
    public var netmask: UInt32 { UInt32.max << UInt32(32 - prefixLength) }
}
