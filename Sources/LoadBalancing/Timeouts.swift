/// The seconds without a packet after which a connection expires, by the connection's state. They correspond to
/// tcp_timeouts in ip_vs_proto_tcp.c and udp_timeouts in ip_vs_proto_udp.c. Each is at most 8,796 (2 h 26 min).
public struct Timeouts: Sendable, Hashable {
    public static let range = 1...8796

    /// The time-out of an established TCP connection (the first number of `ipvsadm --set`).
    public var tcp = 900
    /// The time-out after a FIN (the second number).
    public var tcpFin = 120
    /// The time-out of UDP (the third number).
    public var udp = 300
    /// The time-out of a TCP handshake. It cannot be configured, in contrast to the three above, which ipvsadm --set
    /// and keepalived's lvs_timeouts also set. A limit on half-open connections bounds floods of SYNs, not this
    /// time-out.
    public var tcpSyn = 60

    public init() {}
}

/// The persistence of clients: a client's new connections go to the real server of its last connection (ipvsadm -p,
/// -M).
public struct Persistence: Hashable, Sendable {
    /// The default of five minutes, in seconds. ipvsadm and keepalived have six minutes where no number is given.
    public static let defaultTimeout = 300
    /// The accepted time-outs, in seconds. The packet program's stamps allow 2 h 26 min, as for all time-outs.
    public static let timeouts = 1...8796

    /// The seconds since the client's last packet after which the client is forgotten.
    public var timeout: Int
    /// The number of leading bits in which addresses of one client group are equal.
    public var prefixLength: Int

    public init(timeout: Int = defaultTimeout, prefixLength: Int = 32) {
        precondition(Self.timeouts.contains(timeout) && (1...32).contains(prefixLength))
        self.timeout = timeout
        self.prefixLength = prefixLength
    }

    /// The mask of a client's address, in host byte order.
    public var netmask: UInt32 { UInt32.max << UInt32(32 - prefixLength) }
}
