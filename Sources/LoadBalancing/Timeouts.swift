/// After how many seconds without a packet a connection is forgotten, by its state: ip_vs_proto_tcp.c's tcp_timeouts
/// and ip_vs_proto_udp.c's udp_timeouts. Each is at most 8,796 (2 h 26 min).
public struct Timeouts: Sendable, Hashable {
    public static let range = 1...8796

    /// Of an established connection (ipvsadm --set, its first number).
    public var tcp = 900
    /// After a FIN (its second).
    public var tcpFin = 120
    /// Its third.
    public var udp = 300
    /// Of a handshake. Operators set the three above, as with ipvsadm --set and keepalived's lvs_timeouts; what floods
    /// of SYNs take is bounded by a number of half-open connections, not by this time.
    public var tcpSyn = 60

    public init() {}
}

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
