public import Addresses
public import LoadBalancing

/// A service's real servers over time: results of checks in, transitions and effective weights out. It has no clock:
/// whoever calls says what time it is.
///
/// A server is *good* by its checks' verdict, and *up* where it is good and flap damping does not hold it out.
public struct ServiceState: Sendable {
    public typealias Instant = ContinuousClock.Instant

    public struct Server: Sendable {
        public fileprivate(set) var condition: EffectiveWeight.Condition
        /// When it went up or down.
        public fileprivate(set) var since: Instant
        /// Why it is down, or unproven.
        public fileprivate(set) var reason: String?
        /// It is good, and held out until then.
        public fileprivate(set) var heldUntil: Instant?
        /// It starts slowly since then.
        public fileprivate(set) var slowSince: Instant?
        /// Its checks have nothing against it.
        public fileprivate(set) var isGood: Bool
        fileprivate var damping = FlapDamping()
        /// Of the checks that say one; the smallest counts.
        fileprivate var requestedWeights: [Probe: UInt16] = [:]

        /// What it would count toward the quorum if it were up.
        fileprivate var potential: Int { condition.isDrained ? 0 : Int(condition.asked ?? condition.configured) }
    }

    /// What became of a result, or of time.
    public struct Changes: Sendable {
        public var transitions: [HealthTransition] = []
        /// Effective weights are others than before.
        public var hasNewWeights = false
        /// `damping` is another one.
        public var hasNewDamping = false
    }

    public private(set) var health: ServiceHealth
    public private(set) var policy: ServicePolicy
    public private(set) var quorum: Quorum
    public private(set) var servers: [IPAddress: Server] = [:]
    /// Of servers that are up and not drained: what the quorum is judged by.
    public private(set) var usableWeight = 0
    /// How many they are that have a weight.
    public private(set) var usableCount = 0
    /// The weight, if all were up.
    private var totalWeight = 0
    /// How many of the servers are up.
    public private(set) var numberUp = 0
    /// How many of them serve and do not count.
    private var servingUnproven = 0
    /// Those that time alone changes.
    private var starting: Set<IPAddress> = []
    private var held: Set<IPAddress> = []
    /// The sorry server, while it has the place of the real servers.
    private var servingSorry: IPAddress?

    /// A service that begins. Servers count as up until their first check, without slow start, but for those in `down`.
    /// Of the last daemon's: `starting`, who started slowly, and how many tenths of its share it had; `damping`;
    /// `hadQuorum`: the service is known to have had its quorum, and loses it as one that runs.
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

    /// The sorry server has the place of the real servers.
    public var isReplaced: Bool {
        policy.sorryServer != nil && !quorum.isUp && servingUnproven == 0
    }

    /// Of a service that has just begun: what it lacks from the first.
    public var beginnings: [HealthTransition] {
        guard !quorum.isUp else { return [] }
        return [.quorumLost(weight: usableWeight)] + (servingSorry.map { [.sorryServer($0, serves: true)] } ?? [])
    }

    /// What flap damping holds against servers.
    public var damping: [IPAddress: FlapDamping] { servers.mapValues(\.damping).filter { !$0.value.isClean } }

    public func effectiveWeight(of server: IPAddress) -> EffectiveWeight? {
        servers[server].map {
            EffectiveWeight(of: $0.condition, inhibits: policy.inhibits, isReplaced: isReplaced)
        }
    }

    /// Time alone may change something: `advance` is to be called now and then.
    public var isTimed: Bool { !starting.isEmpty || !held.isEmpty }

    /// When a server that starts slowly has its whole share.
    public func wholeShare(of server: IPAddress) -> Instant? {
        guard let slowStart = policy.slowStart else { return nil }
        return servers[server]?.slowSince.map { $0 + slowStart }
    }

    /// Whether the service would still have its quorum without these servers, of which some may be out anyway.
    public func keepsQuorum(without drained: Set<IPAddress>) -> Bool {
        quorum.holds(at: servingWeight(without: drained))
    }

    /// The weight that a drain of the server leaves; nil where the server serves nothing, or the service keeps its quorum.
    public func shortfall(without server: IPAddress) -> Int? {
        guard let own = servers[server]?.condition.serving, own > 0, !keepsQuorum(without: [server]) else { return nil }
        return servingWeight(without: [server])
    }

    /// Unproven servers serve as the others do.
    private func servingWeight(without drained: Set<IPAddress>) -> Int {
        servers.reduce(0) { $0 + (drained.contains($1.key) ? 0 : Int($1.value.condition.serving)) }
    }

    // MARK: Inputs

    /// `weight`: what the check asks for, where it passed.
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

    /// What time alone changed.
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

    /// By hand: these get no new connections, and no others.
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

    /// Ports that clients were seen to use, and which of those that were learnt before nobody answers any more.
    public mutating func learn(ports: [UInt16], at now: Instant) -> (forgotten: Set<UInt16>, changes: Changes) {
        var changes = Changes()
        health.learn(ports: ports)
        let forgotten = health.forget()
        if !forgotten.isEmpty { for address in servers.keys { applyVerdict(of: address, at: now, &changes) } }
        updateService(&changes, at: now)
        return (forgotten, changes)
    }

    /// Another configuration of the same service. `health`: under other checks, which know nothing yet; nil: they are
    /// the same. `asks`: false where nothing is checked any more.
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

    /// One more for a service that runs: it has nothing in its caches.
    private mutating func add(_ server: RealServer, at now: Instant) {
        servers[server.address] = Server(
            condition: EffectiveWeight.Condition(configured: server.weight), since: now, isGood: true)
        count(server.address, 1)
        startSlowly(server.address, at: now)
    }

    // MARK: Verdicts and transitions

    /// Makes the server follow its checks' verdict.
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

    /// Unless damping holds it out, and the service can do without it.
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
        // A drained one begins when it is undrained.
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

    /// Those that are up can bear it that others are held out: they are a quorum, and half of the service.
    private var canHoldOut: Bool {
        quorum.isUp && usableWeight > 0 && usableWeight >= policy.quorum.required && 2 * usableWeight >= totalWeight
    }

    /// What follows for the others, and for the service, from a change of who is up.
    private mutating func updateService(_ changes: inout Changes, at now: Instant) {
        guard changes.hasNewWeights else { return }
        if !canHoldOut, !held.isEmpty {
            // First who would come back first.
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

/// What changed in the health of a service. Every change goes through `Director.transition`.
public enum HealthTransition: Hashable, Sendable {
    /// It gets new connections again, or what slow start gives it of them.
    case serverUp(IPAddress)
    case serverDown(IPAddress, reason: String?)
    /// It serves, but counts for nothing: the check that nobody asked for has passed on no server.
    case serverUnproven(IPAddress, reason: String?)
    /// It passes its checks again, but has fallen too often, and has to stay good for so long.
    case serverHeld(IPAddress, for: Duration)
    /// Its checks ask for another weight.
    case weight(IPAddress, UInt16, before: UInt16)
    /// Usable weights have this sum, too little for the service.
    case quorumLost(weight: Int)
    case quorumRegained(weight: Int)
    /// The sorry server has the place of the real servers, or has it no more.
    case sorryServer(IPAddress, serves: Bool)
}
