internal import LoadBalancing

/// What is known of the ways to real servers, besides the routes that the data plane has.
struct KnownWays {
    enum News: Equatable {
        case lost(reason: String)
        case found
    }

    /// Real servers to which there is no way, and why.
    private var refusals: [IPv4Address: String] = [:]
    /// Whether this machine has the VIP, of those that local nodes were asked for since the network changed.
    private var isLocalVIP: [IPv4Address: Bool] = [:]
    /// The real server whose way was looked up last: each has its turn.
    private var last = IPv4Address(0)

    /// Returns why there is no way to the real server; nil where there is one, or none is known yet.
    func refusal(of server: IPv4Address) -> String? { refusals[server] }

    /// Notes how a way was found. `refusal`: why there is none. Returns what the log is to say.
    mutating func note(_ refusal: String?, of server: IPv4Address) -> News? {
        let former = refusals[server]
        refusals[server] = refusal
        if let refusal { return refusal == former ? nil : .lost(reason: refusal) }
        return former == nil ? nil : .found
    }

    /// Returns the real servers whose turn it is to be looked up, at most so many.
    mutating func next(of servers: Set<IPv4Address>, atMost limit: Int) -> [IPv4Address] {
        let sorted = servers.sorted()
        guard sorted.count > limit else { return sorted }
        let first = sorted.firstIndex { $0 > last } ?? 0
        let next = (0..<limit).map { sorted[(first + $0) % sorted.count] }
        last = next.last ?? last
        return next
    }

    // MARK: VIPs of local nodes

    /// Returns whether this machine has the VIP; nil where that cannot be looked up. The kernel is asked once after each
    /// change of the network, not for each check.
    mutating func isLocal(_ vip: IPv4Address, lookUp: () -> Bool?) -> Bool? {
        if let known = isLocalVIP[vip] { return known }
        let isLocal = lookUp()
        isLocalVIP[vip] = isLocal
        return isLocal
    }

    /// Has VIPs of local nodes looked up anew.
    mutating func forgetLocalVIPs() { isLocalVIP = [:] }
}
