/// How a real server is selected for a new connection; the names are those of kernel IPVS and ipvsadm.
public enum Scheduler: String, CaseIterable, Sendable, Codable {
    case rr
    case wrr
    case lc
    case wlc
    case mh

    /// One line for help texts.
    public var summary: String {
        switch self {
        case .rr: "round robin: one server after the other"
        case .wrr: "weighted round robin: turns in proportion to the weights"
        case .lc: "least connections: the server with the fewest connections"
        case .wlc: "weighted least connections: the fewest connections for its weight"
        case .mh: "Maglev hashing: by the client's address, the same on every director"
        }
    }
}
