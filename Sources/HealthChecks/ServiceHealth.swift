public import Addresses
import LoadBalancing

/// The health of a service's real servers, out of their probes' results.
///
/// A real server is out when a probe that it must answer is down. Ports that were learnt from clients count only by
/// comparison: a server is out when a port that had answered on it stops answering there while it answers on another
/// one. (Not simply "answers elsewhere": a client could then take servers out by finding a port that only one of them
/// has open.)
///
/// A learnt port that is only silent, while its server answers another probe, takes it out neither: a client that holds
/// idle connections can fill the backlog of a port. Learnt ports together take out half of the servers at most.
public struct ServiceHealth: Sendable {
    public struct Verdict: Sendable, Equatable {
        public var isUp: Bool
        public var isProven: Bool
        /// Why it is down, or nothing speaks for it.
        public var reason: String?
        /// False where its failures prove nothing, and nothing speaks for it either: see `implied`.
        public var counts = true
    }

    /// How many results in a row make a verdict.
    public struct Pace: Sendable, Hashable {
        public var rise: Int
        public var fall: Int

        public init(rise: Int, fall: Int) {
            self.rise = rise
            self.fall = fall
        }
    }

    /// A port that no server answers is forgotten after so many rounds; one that did answer, after more.
    private static let dropAfter = (unconfirmed: 3, confirmed: 60)

    private let required: Set<Probe>
    /// Those of them that nobody asked for, and that no server has passed yet: hosts may drop them all.
    private var unconfirmed: Set<Probe>
    /// In a fixed order, so that of several failures the same one is told.
    private let requiredInOrder: [Probe]
    private var learnt: Set<Probe> = []
    private let pace: Pace
    /// Of probes that have one of their own.
    private let paces: [Probe: Pace]
    private var probes: [IPAddress: [Probe: ProbeHealth]] = [:]
    private var initiallyDown: Set<IPAddress>
    /// On how many servers each learnt port answers steadily.
    private var steady: [Probe: Int] = [:]
    /// Servers against which nothing speaks but a learnt port, in the order in which it began to.
    private var serversWithFallenPort: [IPAddress] = []

    /// `initiallyDown`: servers that the last daemon had taken out, and that have to prove themselves. `answered`: the
    /// learnt ports that had answered on each server by then. `implied`: the required probes that nobody asked for; they
    /// take no server out before one has passed them. Where there are no others, and all of `servers` are initially down,
    /// that proves nothing either: hosts that drop a ping could not prove themselves by it.
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

    /// What to ask a server now.
    public var questions: Set<Probe> { required.union(learnt) }

    public func asks(_ probe: Probe) -> Bool { required.contains(probe) || learnt.contains(probe) }

    /// Adds ports that clients were seen to use, in this order; at most `limit` in all. What a client can make
    /// us ask is not much, and what answers keeps its place.
    public mutating func learn(ports: [UInt16], limit: Int = 8) {
        for probe in ports.map(Probe.tcp) where learnt.count < limit && !required.contains(probe) {
            learnt.insert(probe)
        }
    }

    /// Drops learnt ports that no server answers, and says which.
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

    /// The learnt ports that have answered on the server.
    public func answeredPorts(of server: IPAddress) -> Set<UInt16> {
        guard !learnt.isEmpty else { return [] }
        return Set(
            (probes[server] ?? [:]).compactMap { probe, health in
                guard case .tcp(let check) = probe.check, health.hasAnswered, learnt.contains(probe) else { return nil }
                return check.port
            })
    }

    /// True where the next failure, or success, of the probe may change the verdict.
    public func isUndecided(_ probe: Probe, of server: IPAddress) -> Bool {
        !(probes[server]?[probe]?.isSteadilyUp ?? false)
    }

    /// How many failures of the probe in a row make a verdict.
    public func fall(of probe: Probe) -> Int { (paces[probe] ?? pace).fall }

    /// The verdict of the probe may change soon: it is worth asking again before its time.
    public func isInTransition(_ probe: Probe, of server: IPAddress) -> Bool {
        probes[server]?[probe]?.isInTransition ?? false
    }

    /// True where other servers' verdicts may have changed, too.
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

    /// True where it was the first server that answers, or the last one.
    private mutating func countSteady(_ change: Int, of probe: Probe) -> Bool {
        let number = steady[probe, default: 0] + change
        steady[probe] = number
        return number == (change > 0 ? 1 : 0)
    }

    /// Knows nothing of the server any more.
    public mutating func remove(_ server: IPAddress) {
        for (probe, health) in probes[server] ?? [:] where health.isSteadilyUp && learnt.contains(probe) {
            _ = countSteady(-1, of: probe)
        }
        probes[server] = nil
        initiallyDown.remove(server)
        if !learnt.isEmpty { updateFallenPorts() }
    }

    // MARK: Learnt ports

    /// The servers that learnt ports take out.
    private var outByLearntPorts: ArraySlice<IPAddress> { serversWithFallenPort.prefix(probes.count / 2) }

    private mutating func updateFallenPorts() {
        serversWithFallenPort.removeAll { probes[$0] == nil }
        for server in probes.keys.sorted() { updateFallenPort(of: server) }
    }

    /// Sees whether learnt ports speak against the server.
    private mutating func updateFallenPort(of server: IPAddress) {
        let own = probes[server] ?? [:]
        let hasFallen = !required.contains { own[$0]?.verdict == .down } && fallenLearntPort(of: server) != nil
        let place = serversWithFallenPort.firstIndex(of: server)
        if hasFallen, place == nil { serversWithFallenPort.append(server) }
        if !hasFallen, let place { serversWithFallenPort.remove(at: place) }
    }

    /// The health of a learnt port that speaks against the server; nil where none does.
    private func fallenLearntPort(of server: IPAddress) -> ProbeHealth? {
        let own = probes[server] ?? [:]
        let failed = own.filter { probe, health in
            // While others answer there; it is not among them itself.
            health.verdict == .down && health.hasAnswered && learnt.contains(probe) && steady[probe, default: 0] > 0
                && !isExcused(probe, own)
        }
        return failed.min { $0.key.description < $1.key.description }?.value
    }

    /// Whether the learnt port is only silent, while the server answers something else.
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

    /// What a server that was down still has to answer: all that it must, and all that it had.
    private func outstandingProbes(of server: IPAddress) -> [Probe] {
        let own = probes[server] ?? [:]
        return questions.filter { probe in
            (required.contains(probe) || own[probe]?.hasAnswered == true) && own[probe]?.verdict != .up
                && !isExcused(probe, own)
        }
    }
}

/// The rise and fall of one probe of one real server. The first verdict counts alone; after it `fall` failures in a
/// row take it down and `rise` successes bring it back.
public struct ProbeHealth: Sendable, Equatable {
    public enum Verdict: Sendable, Equatable { case unproven, up, down }

    public private(set) var verdict: Verdict
    /// Why the last probe failed; nil where it did not.
    public private(set) var failure: String?
    /// It has answered at least once: what never did cannot have stopped.
    public private(set) var hasAnswered: Bool
    /// Results since the last success.
    public private(set) var fruitless = 0
    /// What speaks against it is silence alone: nobody has answered since it was up.
    public private(set) var isSilent = false
    private var silences = 0
    /// It has refused since it was up: silence after that is no better.
    private var hasRefused = false
    private var streak = 0

    public init(verdict: Verdict = .unproven, hasAnswered: Bool = false) {
        self.verdict = verdict
        self.hasAnswered = hasAnswered
    }

    /// True where a success would not be news.
    public var isSteadilyUp: Bool { verdict == .up && failure == nil }

    /// A verdict may be near: it has begun to fall, or to rise.
    public var isInTransition: Bool {
        switch verdict {
        case .unproven: false
        case .up: failure != nil
        case .down: failure == nil
        }
    }

    /// Takes a result in; true if the verdict changed.
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
