internal import HostState
internal import LoadBalancing

/// What routers inside the tunnels have said of the path MTUs to real servers (RFC 1191).
struct LearntPathMTUs {
    /// RFC 1191 section 6.3: ten minutes after it went down a path MTU may be tried anew.
    static let lifetime: Duration = .seconds(600)
    /// The kernel's own floor (net.ipv4.route.min_pmtu): whoever forges such a message can have clients told no less.
    static let standardFloor: UInt32 = 552
    /// Section 7.1, without those that are above what a director's interfaces have, or below the floor.
    private static let plateaus: [UInt32] = [8166, 4352, 2002, 1492, 1006]

    private let floor: UInt32

    private struct Entry {
        var mtu: UInt32
        var until: ContinuousClock.Instant
    }

    private var entries: [IPv4Address: Entry] = [:]

    /// Of this network namespace; kernels before 5.18 show it in the first one only.
    static var kernelFloor: UInt32 {
        let key = "net/ipv4/route/min_pmtu"
        return Sysctl.exists(key) ? (try? Sysctl.read(key)).flatMap { UInt32($0) } ?? standardFloor : standardFloor
    }

    /// `floor`: no path MTU below it is believed.
    init(floor: UInt32 = Self.standardFloor) { self.floor = floor }

    /// The MTU of the outer packet, where one was learnt that still counts.
    func mtu(to server: IPv4Address, at now: ContinuousClock.Instant = .now) -> UInt32? {
        entries[server].flatMap { now < $0.until ? $0.mtu : nil }
    }

    /// Takes a router's word where it is plausible, and returns what it made of it: the path MTU only ever goes down
    /// by it, and not below the floor (ip_rt_update_pmtu). `present`: of the path to the real server that the packet was for.
    mutating func learn(
        _ error: FragmentationNeeded, present: UInt32, at now: ContinuousClock.Instant = .now
    ) -> UInt32? {
        let told = error.mtu != 0 ? error.mtu : Self.plateaus.first { $0 < min(error.length, present) } ?? 0
        let mtu = max(told, floor)
        guard mtu < present else { return nil }
        entries[error.destination] = Entry(mtu: mtu, until: now + Self.lifetime)
        return mtu
    }

    mutating func forget(except servers: Set<IPv4Address>, at now: ContinuousClock.Instant = .now) {
        entries = entries.filter { servers.contains($0.key) && now < $0.value.until }
    }
}
