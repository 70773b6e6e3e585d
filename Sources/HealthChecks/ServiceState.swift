public import Addresses
public import LoadBalancing

/// The state of a service's real servers. It gets the results of checks, and returns transitions and effective weights.
/// It has no clock: callers pass the time.
///
/// A server is *good* by its checks' verdict, and *up* if it is also not held out by flap damping.
public struct ServiceState: Sendable {
    public typealias Instant = ContinuousClock.Instant

    public struct Server: Sendable {
        public fileprivate(set) var condition: EffectiveWeight.Condition
        /// The time at which the server last went up or down.
        public fileprivate(set) var since: Instant
        /// The reason why the server is down, held out or unproven.
        public fileprivate(set) var reason: String?
        /// The end of the hold by flap damping, while a good server is held out.
        public fileprivate(set) var heldUntil: Instant?
        /// The start of the slow start, while it lasts.
        public fileprivate(set) var slowSince: Instant?
        /// Whether the checks' verdict is up.
        public fileprivate(set) var isGood: Bool
        fileprivate var damping = FlapDamping()
        /// The weights that checks requested. The smallest of them counts.
        fileprivate var requestedWeights: [Probe: UInt16] = [:]

        /// The weight that the server would add to the quorum if it were up.
        fileprivate var potential: Int { condition.isDrained ? 0 : Int(condition.asked ?? condition.configured) }
    }

    /// The changes that a result, an order or the passing of time caused.
    public struct Changes: Sendable {
        public var transitions: [HealthTransition] = []
        /// Whether an effective weight changed.
        public var hasNewWeights = false
        /// Whether `damping` changed.
        public var hasNewDamping = false
    }

    public private(set) var health: ServiceHealth
    public private(set) var policy: ServicePolicy
    public private(set) var quorum: Quorum
    public private(set) var servers: [IPAddress: Server] = [:]
    /// The sum of the usable weights, which decides the quorum.
    public private(set) var usableWeight = 0
    /// The number of servers with a usable weight above 0.
    public private(set) var usableCount = 0
    /// The sum of the weights that the servers would add to the quorum if all were up.
    private var totalWeight = 0
    /// The number of servers that are up.
    public private(set) var numberUp = 0
    /// The number of servers that serve without counting for the quorum.
    private var servingUnproven = 0
    /// The servers that start slowly. `advance` raises their shares.
    private var starting: Set<IPAddress> = []
    /// The good servers that flap damping holds out. `advance` ends their holds.
    private var held: Set<IPAddress> = []
    /// The sorry server, while it replaces the real servers.
    private var servingSorry: IPAddress?

    /// Creates the state of a service. Servers are up until their first check, except for the ones in `down`. Only the
    /// ones in `starting` start slowly.
    ///
    /// The following come from the last daemon.
    /// - `starting`: the servers in a slow start, with the tenths of their share.
    /// - `damping`: the flap damping of each server.
    /// - `hadQuorum`: whether the service had its quorum, as hysteresis depends on it.
    public init(
        servers: [RealServer], policy: ServicePolicy, health: ServiceHealth, down: Set<IPAddress> = [],
        drained: Set<IPAddress> = [], starting: [IPAddress: Int] = [:],
        damping: [IPAddress: FlapDamping] = [:], hadQuorum: Bool = false, at now: Instant
    ) {
        self.health = health
        self.policy = policy
        quorum = Quorum(policy.quorum, wasUp: hadQuorum)
        for server in servers {
            let isUp = !down.contains(server.address)
            self.servers[server.address] = Server(
                condition: EffectiveWeight.Condition(
                    configured: server.weight, isUp: isUp, isDrained: drained.contains(server.address)),
                since: now, reason: isUp ? nil : "was down when this daemon took over", isGood: isUp)
            if policy.flapDamping != nil, let damping = damping[server.address] {
                self.servers[server.address]?.damping = damping.restored(at: now)
            }
            count(server.address, 1)
            if isUp, let tenths = starting[server.address] { startSlowly(server.address, from: tenths, at: now) }
        }
        _ = quorum.follow(weight: usableWeight)
        servingSorry = isReplaced ? policy.sorryServer : nil
    }

    // MARK: Queries

    /// Whether the sorry server replaces the real servers.
    public var isReplaced: Bool {
        policy.sorryServer != nil && !quorum.isUp && servingUnproven == 0
    }

    /// The transitions to report for a new service that has no quorum from the start.
    public var beginnings: [HealthTransition] {
        guard !quorum.isUp else { return [] }
        return [.quorumLost(weight: usableWeight)] + (servingSorry.map { [.sorryServer($0, serves: true)] } ?? [])
    }

    /// The flap damping of the servers that have fallen.
    public var damping: [IPAddress: FlapDamping] { servers.mapValues(\.damping).filter { !$0.value.isClean } }

    public func effectiveWeight(of server: IPAddress) -> EffectiveWeight? {
        servers[server].map {
            EffectiveWeight(of: $0.condition, inhibits: policy.inhibits, isReplaced: isReplaced)
        }
    }

    /// Whether the state changes by time alone, so that `advance` has to be called regularly.
    public var isTimed: Bool { !starting.isEmpty || !held.isEmpty }

    /// Returns the end of the server's slow start, or nil if there is none.
    public func wholeShare(of server: IPAddress) -> Instant? {
        guard let slowStart = policy.slowStart else { return nil }
        return servers[server]?.slowSince.map { $0 + slowStart }
    }

    /// Returns whether the service would keep its quorum without these servers. Some of them may be out already.
    public func keepsQuorum(without drained: Set<IPAddress>) -> Bool {
        quorum.holds(at: servingWeight(without: drained))
    }

    /// Returns the weight that a drain of the server would leave, if the drain would lose the quorum. Returns nil if
    /// the service would keep its quorum, or the server has no weight now.
    public func shortfall(without server: IPAddress) -> Int? {
        guard let own = servers[server]?.condition.serving, own > 0, !keepsQuorum(without: [server]) else { return nil }
        return servingWeight(without: [server])
    }

    /// Returns the sum of the weights of all other servers that serve. Unproven servers count, too.
    private func servingWeight(without drained: Set<IPAddress>) -> Int {
        servers.reduce(0) { $0 + (drained.contains($1.key) ? 0 : Int($1.value.condition.serving)) }
    }

    // MARK: Inputs

    /// Records a result. `weight` is the weight that a passed check requested, or nil if it requested none.
    public mutating func record(
        _ result: ProbeResult, of probe: Probe, on server: IPAddress, weight: UInt16? = nil, at now: Instant
    ) -> Changes {
        var changes = Changes()
        guard servers[server] != nil, health.asks(probe) else { return changes }
        if result.isSuccess, servers[server]?.requestedWeights[probe] != weight {
            servers[server]?.requestedWeights[probe] = weight
        }
        if health.record(result, of: probe, on: server) {
            for address in servers.keys { applyVerdict(of: address, at: now, &changes) }
        } else {
            applyVerdict(of: server, at: now, &changes)
        }
        updateService(&changes, at: now)
        return changes
    }

    /// Raises the shares of slow starts, and ends the holds, that are due by `now`.
    public mutating func advance(to now: Instant) -> Changes {
        var changes = Changes()
        for address in starting { growShare(of: address, at: now, &changes) }
        for address in held { applyVerdict(of: address, at: now, &changes) }
        updateService(&changes, at: now)
        return changes
    }

    private mutating func growShare(of address: IPAddress, at now: Instant, _ changes: inout Changes) {
        guard let slowStart = policy.slowStart, let server = servers[address], let since = server.slowSince else {
            starting.remove(address)
            return
        }
        let tenths = SlowStart.tenths(after: now - since, of: slowStart)
        guard tenths != server.condition.tenths else { return }
        servers[address]?.condition.tenths = tenths
        changes.hasNewWeights = true
        if tenths == SlowStart.whole { endSlowStart(address) }
    }

    /// Drains these servers by the operator's order, and undrains all others.
    public mutating func setDrained(_ drained: Set<IPAddress>, at now: Instant) -> Changes {
        var changes = Changes()
        for (address, server) in servers where server.condition.isDrained != drained.contains(address) {
            change(address) { $0.condition.isDrained.toggle() }
            if server.condition.isUp { startSlowly(address, at: now) }
            changes.hasNewWeights = true
        }
        updateService(&changes, at: now)
        return changes
    }

    /// Adds ports that clients use. Returns the learnt ports that were dropped as no server answers them (`forgotten`),
    /// and the changes.
    public mutating func learn(ports: [UInt16], at now: Instant) -> (forgotten: Set<UInt16>, changes: Changes) {
        var changes = Changes()
        health.learn(ports: ports)
        let forgotten = health.forget()
        if !forgotten.isEmpty { for address in servers.keys { applyVerdict(of: address, at: now, &changes) } }
        updateService(&changes, at: now)
        return (forgotten, changes)
    }

    /// Applies another configuration of the same service. `health` has the new checks, without results, or is nil if
    /// the checks are the same. `asks` is false if the service has no checks any more.
    public mutating func reconfigure(
        servers wanted: [RealServer], policy: ServicePolicy, health: ServiceHealth?, asks: Bool, at now: Instant
    ) -> Changes {
        self.policy = policy
        let present = Set(wanted.map(\.address))
        for address in servers.keys where !present.contains(address) {
            count(address, -1)
            self.health.remove(address)
            servers[address] = nil
            starting.remove(address)
            held.remove(address)
        }
        if let health { self.health = health }
        for server in wanted {
            if servers[server.address] == nil { add(server, at: now) }
            change(server.address) {
                $0.condition.configured = server.weight
                if health != nil {
                    $0.requestedWeights = [:]
                    $0.condition.asked = nil
                }
                if policy.slowStart == nil {
                    $0.slowSince = nil
                    $0.condition.tenths = SlowStart.whole
                }
                if policy.flapDamping == nil || !asks {
                    $0.damping = FlapDamping()
                    $0.heldUntil = nil
                }
            }
        }
        starting = starting.filter { servers[$0]?.slowSince != nil }
        held = held.filter { servers[$0]?.heldUntil != nil }
        quorum.rule = policy.quorum
        var changes = Changes(hasNewWeights: true)
        for address in servers.keys { applyVerdict(of: address, at: now, &changes) }
        updateService(&changes, at: now)
        return changes
    }

    /// Adds a server to a running service. It starts slowly, as its caches are empty.
    private mutating func add(_ server: RealServer, at now: Instant) {
        servers[server.address] = Server(
            condition: EffectiveWeight.Condition(configured: server.weight), since: now, isGood: true)
        count(server.address, 1)
        startSlowly(server.address, at: now)
    }

    // MARK: Verdicts and transitions

    /// Applies the verdict of the server's checks.
    private mutating func applyVerdict(of address: IPAddress, at now: Instant, _ changes: inout Changes) {
        guard let server = servers[address] else { return }
        let verdict = health.verdict(of: address)
        if verdict.isUp { applyRequestedWeight(of: address, &changes) }
        switch (server.isGood, verdict.isUp) {
        case (true, false):
            servers[address]?.isGood = false
            servers[address]?.heldUntil = nil
            held.remove(address)
            if let halfLife = policy.flapDamping {
                servers[address]?.damping.fall(at: now, halfLife: halfLife)
                changes.hasNewDamping = true
            }
            servers[address]?.reason = verdict.reason
            if server.condition.isUp { takeOut(address, at: now, reason: verdict.reason, &changes) }
        case (false, true):
            servers[address]?.isGood = true
            bringBack(address, at: now, &changes)
        case (true, true):
            if !server.condition.isUp { bringBack(address, at: now, &changes) }
        case (false, false):
            if server.reason != verdict.reason { servers[address]?.reason = verdict.reason }
        }
        if verdict.isUp { applyProof(of: address, verdict, &changes) }
    }

    private mutating func applyRequestedWeight(of address: IPAddress, _ changes: inout Changes) {
        guard let server = servers[address] else { return }
        let weight = server.requestedWeights.values.min()
        guard weight != server.condition.asked else { return }
        let before = server.condition.asked ?? server.condition.configured
        change(address) { $0.condition.asked = weight }
        changes.transitions.append(.weight(address, weight ?? server.condition.configured, before: before))
        changes.hasNewWeights = true
    }

    private mutating func applyProof(
        of address: IPAddress, _ verdict: ServiceHealth.Verdict, _ changes: inout Changes
    ) {
        guard let server = servers[address], server.condition.isUp, server.condition.isCounted != verdict.counts else {
            return
        }
        change(address) {
            $0.condition.isCounted = verdict.counts
            $0.reason = verdict.reason
        }
        if !verdict.counts { changes.transitions.append(.serverUnproven(address, reason: verdict.reason)) }
        changes.hasNewWeights = true
    }

    private mutating func takeOut(_ address: IPAddress, at now: Instant, reason: String?, _ changes: inout Changes) {
        change(address) {
            $0.condition.isUp = false
            $0.condition.isCounted = true
            $0.since = now
        }
        endSlowStart(address)
        changes.transitions.append(.serverDown(address, reason: reason))
        changes.hasNewWeights = true
    }

    /// Brings a good server back up. Flap damping may hold the server out instead, if the service can do without this
    /// server.
    private mutating func bringBack(_ address: IPAddress, at now: Instant, _ changes: inout Changes) {
        if let halfLife = policy.flapDamping, canHoldOut, let server = servers[address],
            let end = server.damping.heldUntil(at: now, halfLife: halfLife)
        {
            if server.heldUntil == nil {
                servers[address]?.heldUntil = end
                servers[address]?.reason = "passes its checks again, but fell too often"
                held.insert(address)
                changes.transitions.append(.serverHeld(address, for: end - now))
            }
            return
        }
        change(address) {
            $0.condition.isUp = true
            $0.since = now
            $0.reason = nil
            $0.heldUntil = nil
            $0.damping.release()
        }
        if servers[address]?.damping.isClean == false { changes.hasNewDamping = true }
        held.remove(address)
        startSlowly(address, at: now)
        changes.transitions.append(.serverUp(address))
        changes.hasNewWeights = true
    }

    private mutating func startSlowly(_ address: IPAddress, from tenths: Int = 1, at now: Instant) {
        // The slow start of a drained server begins when its drain ends.
        guard let slowStart = policy.slowStart, servers[address]?.condition.isDrained == false else {
            return endSlowStart(address)
        }
        servers[address]?.slowSince = now - SlowStart.time(ofTenths: tenths, of: slowStart)
        servers[address]?.condition.tenths = tenths
        starting.insert(address)
    }

    private mutating func endSlowStart(_ address: IPAddress) {
        servers[address]?.slowSince = nil
        servers[address]?.condition.tenths = SlowStart.whole
        starting.remove(address)
    }

    /// Whether the service can do without held servers: the other servers meet the quorum, and have at least half of
    /// the weight.
    private var canHoldOut: Bool {
        quorum.isUp && usableWeight > 0 && usableWeight >= policy.quorum.required && 2 * usableWeight >= totalWeight
    }

    /// Updates the held servers, the quorum and the sorry server after a change of weights.
    private mutating func updateService(_ changes: inout Changes, at now: Instant) {
        guard changes.hasNewWeights else { return }
        if !canHoldOut, !held.isEmpty {
            // The server with the earliest end of its hold comes back first.
            let order = held.map { (servers[$0]?.heldUntil ?? now, $0) }.sorted { $0 < $1 }
            for (_, address) in order where !canHoldOut { bringBack(address, at: now, &changes) }
        }
        if quorum.follow(weight: usableWeight) {
            changes.transitions.append(
                quorum.isUp ? .quorumRegained(weight: usableWeight) : .quorumLost(weight: usableWeight))
        }
        let serving = isReplaced ? policy.sorryServer : nil
        guard serving != servingSorry else { return }
        if let servingSorry { changes.transitions.append(.sorryServer(servingSorry, serves: false)) }
        if let serving { changes.transitions.append(.sorryServer(serving, serves: true)) }
        servingSorry = serving
    }

    // MARK: Sums

    private mutating func change(_ address: IPAddress, _ body: (inout Server) -> Void) {
        guard var server = servers[address] else { return }
        count(address, -1)
        body(&server)
        servers[address] = server
        count(address, 1)
    }

    private mutating func count(_ address: IPAddress, _ sign: Int) {
        guard let server = servers[address] else { return }
        usableWeight += sign * Int(server.condition.usable)
        if server.condition.usable > 0 { usableCount += sign }
        totalWeight += sign * server.potential
        if server.condition.isUp { numberUp += sign }
        if server.condition.serving > server.condition.usable { servingUnproven += sign }
    }
}

/// A change in the health of a service. Each change goes through `Director.logAndPublish`.
public enum HealthTransition: Hashable, Sendable {
    /// The server gets new connections again, or the part of them that slow start allows.
    case serverUp(IPAddress)
    case serverDown(IPAddress, reason: String?)
    /// The server serves, but does not count for the quorum. The probe that failed is implied, and no server has passed
    /// it.
    case serverUnproven(IPAddress, reason: String?)
    /// The server passes its checks again, but has fallen too often. It has to stay good for this time.
    case serverHeld(IPAddress, for: Duration)
    /// The server's checks requested another weight than `before`, or no longer request one.
    case weight(IPAddress, UInt16, before: UInt16)
    /// The sum of the usable weights is too small for the quorum.
    case quorumLost(weight: Int)
    case quorumRegained(weight: Int)
    /// The sorry server replaces the real servers, or no longer does.
    case sorryServer(IPAddress, serves: Bool)
}
