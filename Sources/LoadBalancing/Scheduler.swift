/// The rule that selects a real server for a new connection. The names are the ones of kernel IPVS and ipvsadm.
public enum Scheduler: String, CaseIterable, Sendable, Codable {
    case rr
    case wrr
    case lc
    case wlc
    case sed
    case nq
    case sh
    case dh
    case mh
    case fo
    case ovf
    case twos
    case lblc
    case lblcr

    /// The description of the scheduler in help texts.
    public var summary: String {
        switch self {
        case .rr: "round robin: one server after the other"
        case .wrr: "weighted round robin: turns in proportion to the weights"
        case .lc: "least connections: the server with the fewest connections"
        case .wlc: "weighted least connections: the fewest connections for its weight"
        case .sed: "shortest expected delay: the fewest active connections, the new one counted, for its weight"
        case .nq: "never queue: an idle server, else as sed"
        case .sh: "source hashing: by the client's address"
        case .dh: "destination hashing: by the VIP, so that one VIP is one server"
        case .mh: "Maglev hashing: by the client's address, the same on every director"
        case .fo: "weighted failover: the server with the highest weight"
        case .ovf: "overflow: the highest weight whose active connections do not exceed it"
        case .twos: "power of two choices: of two servers drawn by weight, the less loaded one"
        case .lblc: "locality-based least connections: by the VIP, so that one VIP is one server while it can bear it"
        case .lblcr: "lblc with replication: by the VIP, so that one VIP is one set of servers, which grows under load"
        }
    }
}

/// The flags of schedulers, as in kernel IPVS (`ipvsadm -b`).
public enum SchedulerFlag: String, CaseIterable, Sendable {
    /// sh: hash the client's port, too.
    case shPort = "sh-port"
    /// sh: a new connection whose server has weight 0, or is over its threshold, goes to another server. Without the
    /// flag, it is refused.
    case shFallback = "sh-fallback"
    /// mh: hash the client's port, too.
    case mhPort = "mh-port"
    /// mh: a new connection whose server is over its threshold goes to another server. Without the flag, it is refused.
    /// A server with weight 0 is not in the table.
    case mhFallback = "mh-fallback"

    public var scheduler: Scheduler {
        switch self {
        case .shPort, .shFallback: .sh
        case .mhPort, .mhFallback: .mh
        }
    }
}

/// The preference list of the fo scheduler (ip_vs_fo.c).
public enum Failover {
    /// Returns the servers with a positive weight, the highest weight first, and the first of equals first. The
    /// scheduler selects the first one that is available (ip_vs_fo_schedule).
    public static func order(weights: [Int]) -> [Int] {
        weights.indices.filter { weights[$0] > 0 }.sorted { (weights[$1], $0) < (weights[$0], $1) }
    }
}
