internal import Addresses
internal import HostState

/// The path MTUs to real servers that routers reported (RFC 1191) and probes have confirmed.
struct LearntPathMTUs {
    /// The lifetime of a path MTU. After a decrease, RFC 1191 section 6.3 waits ten minutes before it tries a larger
    /// one.
    static let lifetime: Duration = .seconds(600)
    /// The kernel's default floor (net.ipv4.route.min_pmtu).
    static let standardFloor: UInt32 = 552
    /// The least time between two probes of a path, as forged messages can start them.
    static let pause: Duration = .seconds(2)
    /// The largest number of concurrent probes.
    static let concurrentProbes = 4

    private let floor: UInt32

    private struct Entry {
        var mtu: UInt32
        var until: ContinuousClock.Instant
    }

    private var entries: [IPAddress: Entry] = [:]
    /// The real servers whose paths are being probed.
    private var probed: Set<IPAddress> = []
    /// The times before which paths are not probed again.
    private var next: [IPAddress: ContinuousClock.Instant] = [:]
    /// The times until which unconfirmed messages are not logged again.
    private var silentUntil: [IPAddress: ContinuousClock.Instant] = [:]

    /// The least path MTU that the kernel accepts in this network namespace (min_pmtu). Kernels before 5.18 show the
    /// value in the initial namespace only. Elsewhere this is `standardFloor`.
    static var kernelFloor: UInt32 {
        let key = "net/ipv4/route/min_pmtu"
        return Sysctl.exists(key) ? (try? Sysctl.read(key)).flatMap { UInt32($0) } ?? standardFloor : standardFloor
    }

    /// Creates an empty table. Path MTUs below `floor` are not accepted.
    init(floor: UInt32 = Self.standardFloor) { self.floor = floor }

    /// Returns the learnt MTU of outer packets to the real server, or nil where none is valid.
    func mtu(to server: IPAddress, at now: ContinuousClock.Instant = .now) -> UInt32? {
        entries[server].flatMap { now < $0.until ? $0.mtu : nil }
    }

    /// Returns whether the path may be probed now, after a message with the MTU `claimed` (0 for none). A message is
    /// ignored unless it claims less than `present`, the path's MTU.
    func mayProbe(
        _ server: IPAddress, claimed mtu: UInt32, present: UInt32, at now: ContinuousClock.Instant = .now
    ) -> Bool {
        mtu < present && present > floor && !probed.contains(server) && probed.count < Self.concurrentProbes
            && next[server].map { now >= $0 } ?? true
    }

    mutating func beginProbe(_ server: IPAddress) { probed.insert(server) }

    /// Prevents probes of the path for `pause`.
    mutating func postponeProbe(_ server: IPAddress, at now: ContinuousClock.Instant = .now) {
        next[server] = now + Self.pause
    }

    /// Ends a probe. Returns the new path MTU, or nil where it does not decrease. `passing` is the largest packet that
    /// passed, or nil where that is unknown.
    mutating func endProbe(
        _ server: IPAddress, passing: UInt32? = nil, present: UInt32, at now: ContinuousClock.Instant = .now
    ) -> UInt32? {
        probed.remove(server)
        postponeProbe(server, at: now)
        guard let passing else { return nil }
        let mtu = max(passing, floor)
        guard mtu < present else { return nil }
        entries[server] = Entry(mtu: mtu, until: now + Self.lifetime)
        return mtu
    }

    /// Returns whether to log that a router's message was not confirmed, at most once in `lifetime` for each real
    /// server.
    mutating func mayComplain(of server: IPAddress, at now: ContinuousClock.Instant = .now) -> Bool {
        guard silentUntil[server].map({ now >= $0 }) ?? true else { return false }
        silentUntil[server] = now + Self.lifetime
        return true
    }

    mutating func forget(except servers: Set<IPAddress>, at now: ContinuousClock.Instant = .now) {
        entries = entries.filter { servers.contains($0.key) && now < $0.value.until }
        next = next.filter { servers.contains($0.key) && now < $0.value }
        silentUntil = silentUntil.filter { servers.contains($0.key) && now < $0.value }
    }
}
