internal import Addresses
internal import HostState

/// Path MTUs to real servers that routers told of (RFC 1191) and probes have confirmed.
struct LearntPathMTUs {
    /// RFC 1191 section 6.3: ten minutes after it went down a path MTU may be tried anew.
    static let lifetime: Duration = .seconds(600)
    /// The kernel's own floor (net.ipv4.route.min_pmtu).
    static let standardFloor: UInt32 = 552
    /// The least time between two probes of a path: strangers can cause them.
    static let pause: Duration = .seconds(2)
    /// The largest number of paths that are probed at a time.
    static let concurrentProbes = 4

    private let floor: UInt32

    private struct Entry {
        var mtu: UInt32
        var until: ContinuousClock.Instant
    }

    private var entries: [IPAddress: Entry] = [:]
    /// Real servers whose paths are being probed.
    private var probed: Set<IPAddress> = []
    /// The times before which paths are not probed again.
    private var next: [IPAddress: ContinuousClock.Instant] = [:]
    /// The times until which the log does not contradict routers again.
    private var silentUntil: [IPAddress: ContinuousClock.Instant] = [:]

    /// Of this network namespace; kernels before 5.18 show it in the first one only.
    static var kernelFloor: UInt32 {
        let key = "net/ipv4/route/min_pmtu"
        return Sysctl.exists(key) ? (try? Sysctl.read(key)).flatMap { UInt32($0) } ?? standardFloor : standardFloor
    }

    /// `floor`: no path MTU below it is believed.
    init(floor: UInt32 = Self.standardFloor) { self.floor = floor }

    /// The MTU of the outer packet, where one was learnt that still counts.
    func mtu(to server: IPAddress, at now: ContinuousClock.Instant = .now) -> UInt32? {
        entries[server].flatMap { now < $0.until ? $0.mtu : nil }
    }

    /// Returns whether a message that names this MTU (0: none) would be news, and the path may be probed now. `present` is
    /// the path's MTU.
    func mayProbe(
        _ server: IPAddress, claimed mtu: UInt32, present: UInt32, at now: ContinuousClock.Instant = .now
    ) -> Bool {
        mtu < present && present > floor && !probed.contains(server) && probed.count < Self.concurrentProbes
            && next[server].map { now >= $0 } ?? true
    }

    mutating func beginProbe(_ server: IPAddress) { probed.insert(server) }

    /// Has the path left alone for a while.
    mutating func postponeProbe(_ server: IPAddress, at now: ContinuousClock.Instant = .now) {
        next[server] = now + Self.pause
    }

    /// Returns the path MTU where it goes down. `passing` is the largest packet that passed, nil where that is not known.
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

    /// Returns whether it is time to log that routers are not believed.
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
