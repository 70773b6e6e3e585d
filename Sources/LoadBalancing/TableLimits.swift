import Addresses
internal import PacketPrograms

/// The limits of the packet program's tables, on every machine.
public enum TableLimits {
    /// The number of real servers whose loads lc and similar schedulers compare for each new connection.
    public static let comparedServers = Int(IPVSD_LIST_LIMIT)
    /// The number of real servers of all services, counted once for each service. Real servers have 16-bit numbers from
    /// 1 on.
    public static let servers = 65_535
    /// The number of real servers of one service. `MaglevTable.build` accepts no more.
    public static let serversOfAService = 65_534
    /// The number of listeners, one for each port and protocol. Listeners have 16-bit numbers from 1 on.
    public static let listeners = 65_535
}

extension Scheduler {
    /// Whether the scheduler looks at each real server in turn for a new connection.
    public var comparesServers: Bool { [.lc, .wlc, .sed, .nq, .fo, .ovf, .lblc, .lblcr].contains(self) }
}

extension ServiceAddress {
    /// The number of the packet program's listeners for this address. An any-port address has one for each protocol.
    public var listenerCount: Int { transport == nil ? TransportProtocol.allCases.count : 1 }
}

/// The number of connections that a director's tables are sized for.
public enum ConnectionLimits {
    public static let defaultConnections = 1 << 19
    /// The largest number, which takes a flow table of 1 GiB.
    public static let maximumConnections = 1 << 25
}
