public import Addresses
import LoadBalancing

/// The health of a service's real servers, computed from the results of their probes.
///
/// A required probe that is down takes its real server out. `implied` of the initializer names exceptions. Ports learnt
/// from clients count only by comparison. Such a port takes a server out if it had answered on this server, has
/// stopped, and still answers on another server. An answer on another server alone is not enough. Otherwise a client
/// could take servers out by a port that only one server has open.
///
/// A learnt port that is only silent does not take a server out while the server answers another probe. The reason is
/// that a client with idle connections can fill the backlog of a port. Learnt ports together take out half of the
/// servers at most.
public struct ServiceHealth: Sendable {
    public struct Verdict: Sendable, Equatable {
        public var isUp: Bool
        /// Whether the results of this daemon's probes prove `isUp`.
        public var isProven: Bool
        /// The reason why the server is down or unproven.
        public var reason: String?
        /// Whether the server counts for the quorum. False if only implied probes failed: see `implied` of the
        /// initializer.
        public var counts = true
    }

    /// The numbers of results in a row that make a verdict.
    public struct Pace: Sendable, Hashable {
        public var rise: Int
        public var fall: Int

        public init(rise: Int, fall: Int) {
            self.rise = rise
            self.fall = fall
        }
    }

    /// The number of failed rounds after which a learnt port is dropped: fewer for a port that never answered.
    private static let dropAfter = (unconfirmed: 3, confirmed: 60)

    private let required: Set<Probe>
    /// The implied probes that no server has passed yet. Hosts may drop the packets of such probes on purpose.
    private var unconfirmed: Set<Probe>
    /// The required probes in a fixed order, so that the reported failure is always the same one.
    private let requiredInOrder: [Probe]
    private var learnt: Set<Probe> = []
    private let pace: Pace
    /// The rise and fall of probes that do not use `pace`.
    private let paces: [Probe: Pace]
    private var probes: [IPAddress: [Probe: ProbeHealth]] = [:]
    private var initiallyDown: Set<IPAddress>
    /// The number of servers on which each learnt port is steadily up.
    private var steady: [Probe: Int] = [:]
    /// The servers with a fallen learnt port and no failed required probe, in the order in which the ports fell.
    private var serversWithFallenPort: [IPAddress] = []

    /// Creates the health of a service.
    ///
    /// - `implied`: the required probes that are defaults, and not configured. They take no server out before one
    ///   server has passed them. Where all probes are implied and all of `servers` are initially down, `initiallyDown`
    ///   is ignored. Otherwise, hosts that drop pings could never come up.
    /// - `initiallyDown`: the servers that the last daemon had taken out. They serve only once they pass their probes.
    /// - `answered`: the learnt ports that had answered the last daemon, by server.
    public init(
        required: Set<Probe>, implied: Set<Probe> = [], rise: Int, fall: Int, paces: [Probe: Pace] = [:],
        servers: Set<IPAddress> = [], initiallyDown: Set<IPAddress> = [],
        answered: [IPAddress: Set<UInt16>] = [:]
    ) {
        let provesNothing = !implied.isEmpty && implied == required && initiallyDown.isSuperset(of: servers)
        let initiallyDown = provesNothing ? [] : initiallyDown
        self.required = required
        unconfirmed = implied
        requiredInOrder = required.map { ($0.description, $0) }.sorted { $0.0 < $1.0 }.map(\.1)
        pace = Pace(rise: rise, fall: fall)
        self.paces = paces
        self.initiallyDown = initiallyDown
        for (server, ports) in answered {
            for probe in ports.map(Probe.tcp) where !required.contains(probe) {
                learnt.insert(probe)
                probes[server, default: [:]][probe] = ProbeHealth(
                    verdict: initiallyDown.contains(server) ? .down : .unproven, hasAnswered: true)
            }
        }
    }

    /// The probes that each server gets now.
    public var questions: Set<Probe> { required.union(learnt) }

    public func asks(_ probe: Probe) -> Bool { required.contains(probe) || learnt.contains(probe) }

    /// Adds ports that clients use, in this order, up to `limit` in all. The limit bounds the probes that clients can
    /// cause. A learnt port keeps its place until `forget` removes it.
    public mutating func learn(ports: [UInt16], limit: Int = 8) {
        for probe in ports.map(Probe.tcp) where learnt.count < limit && !required.contains(probe) {
            learnt.insert(probe)
        }
    }

    /// Removes and returns the learnt ports that have failed on every server for the last `dropAfter` rounds.
    public mutating func forget() -> Set<UInt16> {
        var forgotten: Set<UInt16> = []
        for probe in learnt {
            guard case .tcp(let check) = probe.check else { continue }
            let results = probes.values.compactMap { $0[probe] }
            let limit =
                results.contains(where: \.hasAnswered) ? Self.dropAfter.confirmed : Self.dropAfter.unconfirmed
            guard !results.isEmpty, results.allSatisfy({ $0.fruitless >= limit }) else { continue }
            learnt.remove(probe)
            steady[probe] = nil
            for server in probes.keys { probes[server]?[probe] = nil }
            forgotten.insert(check.port)
        }
        if !forgotten.isEmpty { updateFallenPorts() }
        return forgotten
    }

    /// Returns the learnt ports that have answered on the server.
    public func answeredPorts(of server: IPAddress) -> Set<UInt16> {
        guard !learnt.isEmpty else { return [] }
        return Set(
            (probes[server] ?? [:]).compactMap { probe, health in
                guard case .tcp(let check) = probe.check, health.hasAnswered, learnt.contains(probe) else { return nil }
                return check.port
            })
    }

    /// Returns whether a success of the probe may change the verdict, as the probe is not steadily up.
    public func isUndecided(_ probe: Probe, of server: IPAddress) -> Bool {
        !(probes[server]?[probe]?.isSteadilyUp ?? false)
    }

    /// Returns the number of failures in a row that take the probe down.
    public func fall(of probe: Probe) -> Int { (paces[probe] ?? pace).fall }

    /// Returns whether a verdict of the probe is near, so that the next round should start early.
    public func isInTransition(_ probe: Probe, of server: IPAddress) -> Bool {
        probes[server]?[probe]?.isInTransition ?? false
    }

    /// Records a result. Returns whether the result may have changed other servers' verdicts, too.
    @discardableResult
    public mutating func record(_ result: ProbeResult, of probe: Probe, on server: IPAddress) -> Bool {
        let wasSteady = probes[server]?[probe]?.isSteadilyUp ?? false
        let outBefore = outByLearntPorts
        let fresh = ProbeHealth(verdict: initiallyDown.contains(server) ? .down : .unproven)
        let pace = paces[probe] ?? pace
        probes[server, default: [:]][probe, default: fresh].record(result, rise: pace.rise, fall: pace.fall)
        if initiallyDown.contains(server), outstandingProbes(of: server).isEmpty { initiallyDown.remove(server) }
        if result.isSuccess, unconfirmed.remove(probe) != nil { return true }
        guard !learnt.isEmpty else { return false }
        if learnt.contains(probe), wasSteady != probes[server]?[probe]?.isSteadilyUp,
            countSteady(wasSteady ? -1 : 1, of: probe)
        {
            updateFallenPorts()
            return true
        }
        updateFallenPort(of: server)
        return outByLearntPorts != outBefore
    }

    /// Adds `change`, 1 or -1, to the number of servers on which a learnt port is steadily up. Returns whether the
    /// number went from 0 to 1, or from 1 to 0.
    private mutating func countSteady(_ change: Int, of probe: Probe) -> Bool {
        let number = steady[probe, default: 0] + change
        steady[probe] = number
        return number == (change > 0 ? 1 : 0)
    }

    /// Removes all results of the server.
    public mutating func remove(_ server: IPAddress) {
        for (probe, health) in probes[server] ?? [:] where health.isSteadilyUp && learnt.contains(probe) {
            _ = countSteady(-1, of: probe)
        }
        probes[server] = nil
        initiallyDown.remove(server)
        if !learnt.isEmpty { updateFallenPorts() }
    }

    // MARK: Learnt ports

    /// The servers that learnt ports take out: at most half of all servers, in the order in which their ports fell.
    private var outByLearntPorts: ArraySlice<IPAddress> { serversWithFallenPort.prefix(probes.count / 2) }

    private mutating func updateFallenPorts() {
        serversWithFallenPort.removeAll { probes[$0] == nil }
        for server in probes.keys.sorted() { updateFallenPort(of: server) }
    }

    /// Updates whether learnt ports count against the server.
    private mutating func updateFallenPort(of server: IPAddress) {
        let own = probes[server] ?? [:]
        let hasFallen = !required.contains { own[$0]?.verdict == .down } && fallenLearntPort(of: server) != nil
        let place = serversWithFallenPort.firstIndex(of: server)
        if hasFallen, place == nil { serversWithFallenPort.append(server) }
        if !hasFallen, let place { serversWithFallenPort.remove(at: place) }
    }

    /// Returns the health of a learnt port that counts against the server, or nil.
    private func fallenLearntPort(of server: IPAddress) -> ProbeHealth? {
        let own = probes[server] ?? [:]
        let failed = own.filter { probe, health in
            // `steady` counts other servers only, as the port is down on this server.
            health.verdict == .down && health.hasAnswered && learnt.contains(probe) && steady[probe, default: 0] > 0
                && !isExcused(probe, own)
        }
        return failed.min { $0.key.description < $1.key.description }?.value
    }

    /// Returns whether the probe is a learnt port that is only silent, while the server answers another probe.
    private func isExcused(_ probe: Probe, _ own: [Probe: ProbeHealth]) -> Bool {
        learnt.contains(probe) && own[probe]?.isSilent == true
            && own.contains { $0.key != probe && $0.value.verdict == .up }
    }

    // MARK: Verdicts

    public func verdict(of server: IPAddress) -> Verdict {
        let own = probes[server] ?? [:]
        let failures = requiredInOrder.filter { own[$0]?.verdict == .down }
        if let failed = failures.first(where: { !unconfirmed.contains($0) }) {
            return Verdict(isUp: false, isProven: true, reason: own[failed]?.failure)
        }
        if !serversWithFallenPort.isEmpty, outByLearntPorts.contains(server) {
            return Verdict(isUp: false, isProven: true, reason: fallenLearntPort(of: server)?.failure)
        }
        if initiallyDown.contains(server) {
            let reason = outstandingProbes(of: server).lazy.compactMap { own[$0]?.failure }.first
            return Verdict(isUp: false, isProven: false, reason: reason ?? "was down when this daemon took over")
        }
        let isProven = !required.isEmpty && required.allSatisfy { own[$0]?.verdict == .up }
        let silent = failures.first.flatMap { own[$0]?.failure }
        return Verdict(isUp: true, isProven: isProven, reason: silent, counts: failures.isEmpty)
    }

    /// Returns the probes that an initially down server still has to pass: the required ones, and learnt ports that had
    /// answered.
    private func outstandingProbes(of server: IPAddress) -> [Probe] {
        let own = probes[server] ?? [:]
        return questions.filter { probe in
            (required.contains(probe) || own[probe]?.hasAnswered == true) && own[probe]?.verdict != .up
                && !isExcused(probe, own)
        }
    }
}

/// The health of one probe of one real server. The first result of an unproven probe decides alone. After it, `fall`
/// failures in a row take the probe down, and `rise` successes bring it back.
public struct ProbeHealth: Sendable, Equatable {
    public enum Verdict: Sendable, Equatable { case unproven, up, down }

    public private(set) var verdict: Verdict
    /// The reason of the last failure, or nil after a success.
    public private(set) var failure: String?
    /// Whether the probe has ever passed. A port that never answered cannot have stopped.
    public private(set) var hasAnswered: Bool
    /// The number of failures since the last success.
    public private(set) var fruitless = 0
    /// Whether the probe has only been silent since it was up.
    public private(set) var isSilent = false
    /// The number of silent results since the last success or failure with an answer.
    private var silences = 0
    /// Whether the probe has failed with an answer, such as a refusal, since it was up. Later silence then excuses
    /// nothing.
    private var hasRefused = false
    /// The number of the latest results that are alike: all successes, or all failures.
    private var streak = 0

    public init(verdict: Verdict = .unproven, hasAnswered: Bool = false) {
        self.verdict = verdict
        self.hasAnswered = hasAnswered
    }

    /// Whether the probe is up, and its last result was a success.
    public var isSteadilyUp: Bool { verdict == .up && failure == nil }

    /// Whether the last result contradicts the verdict.
    public var isInTransition: Bool {
        switch verdict {
        case .unproven: false
        case .up: failure != nil
        case .down: failure == nil
        }
    }

    /// Records a result. Returns whether the verdict changed.
    @discardableResult
    public mutating func record(_ result: ProbeResult, rise: Int, fall: Int) -> Bool {
        let before = verdict
        switch result {
        case .success:
            streak = failure == nil ? streak + 1 : 1
            failure = nil
            hasAnswered = true
            fruitless = 0
            silences = 0
            if verdict == .unproven || (verdict == .down && streak >= rise) { verdict = .up }
            if verdict == .up {
                isSilent = false
                hasRefused = false
            }
        case .failure(let reason), .silence(let reason):
            if case .silence = result {
                silences += 1
                if !hasRefused, silences >= fall || (failure == nil && verdict != .down) { isSilent = true }
            } else {
                silences = 0
                isSilent = false
                hasRefused = true
            }
            streak = failure == nil ? 1 : streak + 1
            failure = reason
            fruitless += 1
            if verdict == .unproven || (verdict == .up && streak >= fall) { verdict = .down }
        }
        return verdict != before
    }
}
