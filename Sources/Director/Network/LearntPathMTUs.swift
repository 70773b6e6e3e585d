internal import LoadBalancing

/// What routers inside the tunnels have said of the path MTUs to real servers (RFC 1191).
struct LearntPathMTUs {
    /// RFC 1191 section 6.3: ten minutes after it went down a path MTU may be tried anew.
    static let lifetime: Duration = .seconds(600)
    /// Section 3: no path has a lower one.
    static let minimum: UInt32 = 68
    /// Section 7.1, without those that are above what a director's interfaces have.
    private static let plateaus: [UInt32] = [8166, 4352, 2002, 1492, 1006, 508, 296, 68]

    private struct Entry {
        var mtu: UInt32
        var until: ContinuousClock.Instant
    }

    private var entries: [IPv4Address: Entry] = [:]

    /// The MTU of the outer packet, where one was learnt that still counts.
    func mtu(to server: IPv4Address, at now: ContinuousClock.Instant = .now) -> UInt32? {
        entries[server].flatMap { now < $0.until ? $0.mtu : nil }
    }

    /// Takes a router's word where it is plausible, and returns what it made of it: the path MTU only ever goes down
    /// by it. `present`: of the path to the real server that the packet was for.
    mutating func learn(
        _ error: FragmentationNeeded, present: UInt32, at now: ContinuousClock.Instant = .now
    ) -> UInt32? {
        let mtu = error.mtu != 0 ? error.mtu : Self.plateaus.first { $0 < min(error.length, present) } ?? 0
        guard mtu >= Self.minimum, mtu < present else { return nil }
        entries[error.destination] = Entry(mtu: mtu, until: now + Self.lifetime)
        return mtu
    }

    mutating func forget(except servers: Set<IPv4Address>, at now: ContinuousClock.Instant = .now) {
        entries = entries.filter { servers.contains($0.key) && now < $0.value.until }
    }
}
