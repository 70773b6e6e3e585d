import Addresses
import DataPlane
import LoadBalancing
import TestSupport

@testable import XDPDataPlane

/// A model of one service with its real servers and connections, and of each scheduler's choices. It follows IPVS's
/// sources, one connection at a time.
struct SchedulerModel {
    struct Server {
        var number: UInt8
        var weight: UInt16
        var isDown = false
        var thresholds: ConnectionThresholds?

        var effectiveWeight: UInt16 { isDown ? 0 : weight }
    }

    /// The values of a server that last as long as its connections.
    struct Counts {
        var active: UInt32 = 0
        var inactive: UInt32 = 0
        var thresholds: ConnectionThresholds?
        var isOverloaded = false
    }

    let scheduler: Scheduler
    let flags: Set<SchedulerFlag>
    let vip: IPv4Address
    let maglevSize: Int
    private(set) var servers: [Server] = []
    private(set) var counts = [Counts](repeating: Counts(), count: 256)

    private var cursor: UInt64 = 0
    private var ring: [Int] = []
    private var preference: [Int] = []
    private var buckets: [Int?] = []
    private var maglev: [UInt16] = []
    private var byVIP: Int?
    /// The server that lblc chose last for the VIP, or nil.
    private var cached: UInt8?
    /// The servers of lblcr for the VIP, with the latest to join first. `isSetOld` says whether a day has passed since
    /// they changed.
    private var set: [UInt8] = []
    private var isSetOld = false
    /// The number of choices that were made while a server with a weight above 0 was overloaded.
    private(set) var refusals = 0

    init(_ scheduler: Scheduler, _ flags: Set<SchedulerFlag>, vip: IPv4Address, maglevSize: Int) {
        self.scheduler = scheduler
        self.flags = flags
        self.vip = vip
        self.maglevSize = maglevSize
    }

    // MARK: What happens to it

    mutating func configure(_ servers: [Server]) {
        self.servers = servers
        for server in servers { setThresholds(server.thresholds, of: server.number) }
        let weights = servers.map { Int($0.effectiveWeight) }
        let present = servers.indices.filter { !servers[$0].isDown }
        switch scheduler {
        case .rr: ring = WeightedRoundRobin.evenRing(weights: weights)
        case .wrr, .twos: ring = WeightedRoundRobin.ring(weights: weights)
        case .fo: preference = Failover.order(weights: weights)
        case .dh: byVIP = SourceHash.server(ofVIP: .v4(vip), weights: present.map { weights[$0] }).map { present[$0] }
        case .sh:
            buckets = SourceHash.buckets(weights: present.map { weights[$0] }).map { $0.map { present[$0] } }
        case .mh:
            maglev = MaglevTable.build(
                members: servers.indices.map {
                    (key: UInt64(Standard.server(servers[$0].number).value), weight: weights[$0])
                }, size: maglevSize)
        default: break
        }
    }

    private mutating func setThresholds(_ thresholds: ConnectionThresholds?, of number: UInt8) {
        let old = counts[Int(number)].thresholds
        guard thresholds != old else { return }
        // Without an upper threshold, or with a higher one than before, the server is no longer overloaded
        // (__ip_vs_update_dest).
        if (thresholds?.upper ?? .max) > (old?.upper ?? 0) { counts[Int(number)].isOverloaded = false }
        counts[Int(number)].thresholds = thresholds
        judge(number)
    }

    /// Updates whether the server is overloaded, as ip_vs_bind_dest and ip_vs_unbind_dest do.
    private mutating func judge(_ number: UInt8) {
        let count = counts[Int(number)]
        counts[Int(number)].isOverloaded =
            count.thresholds?.areExceeded(by: count.active + count.inactive, wasOverloaded: count.isOverloaded) ?? false
    }

    mutating func connect(_ number: UInt8) {
        counts[Int(number)].active += 1
        judge(number)
    }

    /// Counts connections that began, ended, or became active or inactive.
    mutating func adjust(_ number: UInt8, active: Int, inactive: Int) {
        counts[Int(number)].active = UInt32(Int(counts[Int(number)].active) + active)
        counts[Int(number)].inactive = UInt32(Int(counts[Int(number)].inactive) + inactive)
        judge(number)
    }

    mutating func close(_ number: UInt8) {
        counts[Int(number)].active -= 1
        counts[Int(number)].inactive += 1
    }

    mutating func forgetClosed(_ number: UInt8) {
        counts[Int(number)].inactive -= 1
        judge(number)
    }

    /// Drops the values of a removed server, after its last connection.
    mutating func forget(_ number: UInt8) {
        counts[Int(number)] = Counts()
        if cached == number { cached = nil }
        set.removeAll { $0 == number }
    }

    /// Lets a day pass without a change of lblcr's set of servers.
    mutating func passADay() { isSetOld = true }

    /// Lets a day pass without connections, after which lblc and lblcr forget their servers.
    mutating func passAnIdleDay() {
        cached = nil
        set = []
    }

    // MARK: Choices

    /// Returns the number of the real server for a new connection, or nil if no server takes it.
    mutating func choose(client: IPv4Address, port: UInt16) -> UInt8? {
        let loads = servers.map {
            LeastConnections.Load(
                active: counts[Int($0.number)].active, inactive: counts[Int($0.number)].inactive,
                weight: $0.effectiveWeight, isOverloaded: counts[Int($0.number)].isOverloaded)
        }
        if loads.contains(where: { $0.weight > 0 && $0.isOverloaded }) { refusals += 1 }
        return index(loads, client, port).map { servers[$0].number }
    }

    private mutating func index(_ loads: [LeastConnections.Load], _ client: IPv4Address, _ port: UInt16) -> Int? {
        switch scheduler {
        case .rr, .wrr: return turn(loads)
        case .lc: return LeastConnections.choose(loads, weighted: false)
        case .wlc: return LeastConnections.choose(loads, weighted: true)
        case .sed: return LeastConnections.shortestExpectedDelay(loads)
        case .nq: return LeastConnections.neverQueue(loads)
        case .ovf: return LeastConnections.overflow(loads)
        case .fo: return preference.first { loads[$0].isAvailable }
        case .dh: return byVIP.flatMap { loads[$0].isAvailable ? $0 : nil }
        case .twos:
            guard !ring.isEmpty else { return nil }
            cursor += 1
            return LeastConnections.twoChoices(loads, ring: ring, draw: PacketHash.mix(cursor))
        case .sh:
            let bucket = SourceHash.bucket(client: client, port: flags.contains(.shPort) ? port : 0)
            return SourceHash.server(ofBucket: bucket, in: buckets, fallback: flags.contains(.shFallback)) {
                loads[$0].isAvailable
            }
        case .mh:
            guard !maglev.isEmpty else { return nil }
            let hash = MaglevTable.hash(client: client, port: flags.contains(.mhPort) ? port : 0)
            let slot = MaglevTable.slot(of: hash, size: maglevSize)
            let steps = flags.contains(.mhFallback) ? maglevSize : 1
            return (0..<steps).lazy.map { [maglev] in Int(maglev[(slot + $0) % maglev.count]) }.first {
                loads[$0].isAvailable
            }
        case .lblc: return lblc(loads)
        case .lblcr: return lblcr(loads)
        }
    }

    /// Returns the index of the next server in the order of ip_vs_rr.c or ip_vs_wrr.c that is not overloaded.
    private mutating func turn(_ loads: [LeastConnections.Load]) -> Int? {
        for step in 0..<ring.count {
            let index = ring[Int((cursor + UInt64(step)) % UInt64(ring.count))]
            guard loads[index].isAvailable else { continue }
            cursor += UInt64(step) + 1
            return index
        }
        return nil
    }

    /// Whether the server is crowded, as is_overloaded in ip_vs_lblc.c and ip_vs_lblcr.c decides.
    private func isCrowded(_ index: Int, _ loads: [LeastConnections.Load]) -> Bool {
        loads[index].active > UInt32(loads[index].weight) && loads.contains { $0.active * 2 < UInt32($0.weight) }
    }

    private mutating func lblc(_ loads: [LeastConnections.Load]) -> Int? {
        if let index = servers.firstIndex(where: { $0.number == cached }), loads[index].isAvailable,
            !isCrowded(index, loads)
        {
            return index
        }
        let least = LeastConnections.choose(loads, weighted: true)
        if let least { cached = servers[least].number }
        return least
    }

    private mutating func lblcr(_ loads: [LeastConnections.Load]) -> Int? {
        let members = set.compactMap { number in servers.firstIndex { $0.number == number } }
        // As in ip_vs_dest_set_min and ip_vs_dest_set_max, the first of equal servers counts.
        func exceeds(_ one: Int, _ other: Int) -> Bool {
            loads[one].overhead * UInt64(loads[other].weight) > loads[other].overhead * UInt64(loads[one].weight)
        }
        var (least, most): (Int?, Int?)
        for index in members where loads[index].weight > 0 {
            if most.map({ exceeds(index, $0) }) ?? true { most = index }
            if loads[index].isAvailable, least.map({ exceeds($0, index) }) ?? true { least = index }
        }
        if members.count > 1, isSetOld, let most {
            set.removeAll { $0 == servers[most].number }
            isSetOld = false
        }
        if let least, !isCrowded(least, loads) { return least }
        guard let chosen = LeastConnections.choose(loads, weighted: true) else { return nil }
        if !set.contains(servers[chosen].number) {
            set.insert(servers[chosen].number, at: 0)
            isSetOld = false
        }
        return chosen
    }
}
