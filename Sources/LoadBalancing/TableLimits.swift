import Addresses
internal import PacketPrograms

/// What the tables of the packet program hold at most, on every machine.
public enum TableLimits {
    /// Real servers among which lc and its like compare loads for each new connection.
    public static let comparedServers = Int(IPVSD_LIST_LIMIT)
    /// Real servers of all services, counted once for each service: 16 bits number them, from 1 on.
    public static let servers = 65_535
    /// A Maglev table has one more value.
    public static let serversOfAService = 65_534
    /// Listeners, one for each port and protocol: 16 bits number them, from 1 on.
    public static let listeners = 65_535
}

extension Scheduler {
    /// Whether it looks at each real server, in turn.
    public var comparesServers: Bool { [.lc, .wlc, .sed, .nq, .fo, .ovf, .lblc, .lblcr].contains(self) }
}

extension ServiceAddress {
    /// How many listeners of the packet program it takes: an any-port address has one for each protocol.
    public var listenerCount: Int { transport == nil ? TransportProtocol.allCases.count : 1 }
}

/// How many connections a director is made for.
public enum ConnectionLimits {
    public static let defaultConnections = 1 << 19
    /// A flow table of 1 GiB.
    public static let maximumConnections = 1 << 25
}
