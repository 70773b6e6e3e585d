/// How a real server is selected for a new connection; the names are those of kernel IPVS and ipvsadm.
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

    /// One line for help texts.
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

/// What kernel IPVS calls scheduler flags (`ipvsadm -b`).
public enum SchedulerFlag: String, CaseIterable, Sendable {
    /// sh: the client's port counts, too.
    case shPort = "sh-port"
    /// sh: a server with weight 0, or over its threshold, passes its clients on to another one, instead of refusing
    /// them.
    case shFallback = "sh-fallback"
    /// mh: the client's port counts, too.
    case mhPort = "mh-port"
    /// mh: a server over its threshold passes its clients on to another one, instead of refusing them. (One with
    /// weight 0 is not in the table.)
    case mhFallback = "mh-fallback"

    public var scheduler: Scheduler {
        switch self {
        case .shPort, .shFallback: .sh
        case .mhPort, .mhFallback: .mh
        }
    }
}

/// The table of the fo scheduler (ip_vs_fo.c).
public enum Failover {
    /// The order of preference, in which the first that is available is chosen: by weight, the first of equals
    /// first (ip_vs_fo_schedule).
    public static func order(weights: [Int]) -> [Int] {
        weights.indices.filter { weights[$0] > 0 }.sorted { (weights[$1], $0) < (weights[$0], $1) }
    }
}
