internal import Addresses
internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// Supervises the health of all services: answers of checks, time and operators' drains come in, changes of weights and
/// transitions go out. It asks nobody and has no clock: the caller asks what is due, and says what time it is.
struct HealthSupervisor {
    typealias Instant = ContinuousClock.Instant

    /// What an answer brings.
    struct Findings {
        /// Changes of each service that wanted to know.
        var changes: [(service: ServiceAddress, changes: ServiceState.Changes)] = []
        /// The learnt ports that have answered on these real servers, where there are others than before.
        var answeredPorts: [(member: ServiceMember, ports: Set<UInt16>)] = []
        /// A real server's host did not answer: it may have got another MAC.
        var silentHost: IPAddress?
        /// This machine lacks something that it needs to ask, and the log has not said so of late.
        var shortage: String?
        /// Services whose checks have begun to fail by this machine's own fault, with what is known of it.
        var inDoubt: [(service: ServiceAddress, reason: String)] = []
    }

    /// What a round asks, and for whom.
    struct Inquiry {
        var round: Round
        /// The first of those that want to know.
        var member: ServiceMember
        /// Whether the server's own address is asked at the same time, which tells which half is broken.
        var isAskedBeside: Bool
    }

    /// What became of ports that clients were seen to use.
    struct Learning {
        /// Ports that had been learnt before, and that no real server answers any more.
        var forgotten: Set<UInt16>
        var changes: ServiceState.Changes
        /// Other ports are to be asked than before.
        var hasNewQuestions: Bool
    }

    /// The state of each service, by its address.
    private var states: [ServiceAddress: ServiceState] = [:]
    private var rounds: Rounds
    private(set) var record = CheckRecord()
    private var outOfTurn = OutOfTurnChecks()
    private var doubts = CheckDoubts()
    /// What flap damping holds against real servers differs from what was saved.
    private var hasUnsavedDamping = false

    init(at now: Instant) { rounds = Rounds(origin: now) }

    subscript(service: ServiceAddress) -> ServiceState? { states[service] }

    func isUp(_ member: ServiceMember) -> Bool {
        states[member.service]?.servers[member.server]?.condition.isUp == true
    }

    /// Returns why what is known of the member is old; nil when all its checks could be asked.
    func reasonNotAsked(_ member: ServiceMember) -> String? {
        record.reasonNotAsked(among: rounds.ids(of: member))
    }

    // MARK: Rounds

    /// Returns the rounds that are to be asked now. Each is out until `finish`.
    mutating func takeDue(at now: Instant) -> [Int] { rounds.takeDue(at: now) }

    /// When the next round is due; nil when all are out, or there are none.
    var nextDue: Instant? { rounds.nextDue }

    var roundIDs: Set<Int> { rounds.ids }

    func round(_ id: Int) -> Round? { rounds[id]?.round }

    /// Returns what to ask; nil when nobody wants to know any more.
    func inquiry(_ id: Int) -> Inquiry? {
        guard let active = rounds[id], let first = active.targets.first else { return nil }
        return Inquiry(round: active.round, member: first, isAskedBeside: isAskedBeside(active))
    }

    /// A bare check goes both ways while its answer may be news to somebody, as that costs next to nothing.
    private func isAskedBeside(_ active: Rounds.Active) -> Bool {
        let probe = active.round.probe
        switch probe.via {
        case .both: return true
        case .direct: return false
        case .tunnel:
            return probe.check.isBare
                && active.targets.contains {
                    states[$0.service]?.health.isUndecided(probe, of: active.round.server) ?? true
                }
        }
    }

    /// Plans the round's next turn: sooner than usual while a verdict is near.
    mutating func finish(_ id: Int, at now: Instant) {
        guard let active = rounds[id] else { return }
        let isInTransition = active.targets.contains {
            states[$0.service]?.health.isInTransition(active.round.probe, of: $0.server) ?? false
        }
        rounds.finish(id, isInTransition: isInTransition, at: now)
    }

    /// Makes the rounds those of the configuration and of the ports learnt. Returns the ids of those that nobody wants any
    /// more.
    mutating func updateRounds(for configuration: DirectorConfiguration, at now: Instant) -> Set<Int> {
        var wanted: [(round: Round, target: ServiceMember)] = []
        for service in configuration.services {
            let questions = states[service.address]?.health.questions ?? []
            for server in service.servers.map(\.address) {
                let target = ServiceMember(service: service.address, server: server)
                wanted += Round.all(of: server, vip: service.address.vip, checks: service.checks, questions: questions)
                    .map { ($0, target) }
            }
        }
        let gone = rounds.update(to: wanted, at: now)
        record.forget(gone)
        outOfTurn.forget(gone)
        doubts.forget(gone)
        return gone
    }

    // MARK: Questions and answers

    /// Notes that the round is asked. `before`: what had been counted of such checks; nil: nothing is known.
    mutating func noteAsked(_ id: Int, isOutOfTurn: Bool = false, before: CheckTraffic? = nil, at now: Instant) {
        doubts.begin(.init(round: id, isOutOfTurn: isOutOfTurn), before: before)
        if isOutOfTurn { outOfTurn.noteAsked(id, at: now) }
    }

    /// Notes that the round is answered. Returns what had been counted before it was asked.
    mutating func noteAnswered(_ id: Int, isOutOfTurn: Bool) -> CheckTraffic? {
        doubts.end(.init(round: id, isOutOfTurn: isOutOfTurn))
    }

    /// Takes an answer. One to a round that nobody wants any more brings nothing.
    mutating func accept(_ answer: Checker.Answer, at now: Instant) -> Findings {
        var findings = Findings()
        let id = Int(answer.id)
        guard let active = rounds[id] else { return findings }
        record.noteAsked(id)
        doubts.dispel(id, of: active.targets.lazy.map(\.service))
        switch answer.verdict {
        case .passed(let pass):
            let weight = pass.weight.map { UInt16(clamping: $0) }
            note(.success, weight: weight, latency: answer.latency, of: active, at: now, &findings)
        case .failed(let failure) where failure.isOwn:
            let reason = "\(active.round.probe) \(answer.way): \(failure.reason)"
            if record.noteNotAsked(id, reason, shortage: failure.reason, at: now) { findings.shortage = failure.reason }
        case .failed(let failure):
            let reason = "\(active.round.probe) \(answer.way): \(failure.reason)"
            let result: ProbeResult = failure.hostAnswered ? .failure(reason) : .silence(reason)
            note(result, latency: answer.latency, of: active, at: now, &findings)
            if failure.hostAnswered {
                rounds.noteRefused(id, at: now)
            } else {
                findings.silentHost = active.round.server
            }
        }
        return findings
    }

    /// Passes over an answer that the director itself has spoilt: it says nothing of the real server.
    mutating func passOver(_ answer: Checker.Answer) { record.noteAsked(Int(answer.id)) }

    /// Passes over a failure for which there is proof that this machine's own packet filters are to blame.
    mutating func passOver(_ answer: Checker.Answer, in doubt: CheckPathDoubt, at now: Instant) -> Findings {
        var findings = Findings()
        let id = Int(answer.id)
        guard let active = rounds[id] else { return findings }
        let reason = "\(active.round.probe) \(answer.way): \(doubt)"
        if record.noteNotAsked(id, reason, shortage: "\(doubt)", at: now) { findings.shortage = reason }
        findings.inDoubt = doubts.note(id, of: Set(active.targets.map(\.service)), at: now).map { ($0, reason) }
        return findings
    }

    /// Returns why the failure is this machine's own, by what was counted before the question and after the failure; nil
    /// when nothing proves that. `checksumErrors`: packets with a wrong checksum, as the kernel counts them.
    mutating func doubt(
        _ id: Int, _ failure: CheckVerdict.Failure, from before: CheckTraffic, to after: CheckTraffic,
        checksumErrors: () -> UInt64?
    ) -> CheckPathDoubt? {
        let doubt = CheckPathDoubt(from: before, to: after, failure, isShared: sharesTransport(id))
        // A server whose answers have wrong checksums is of no use to clients either.
        if doubt == .answerLost, doubts.hasChecksumErrors(checksumErrors()) { return nil }
        return doubt
    }

    /// Whether the packets of another round's checks are counted with those of this one.
    private func sharesTransport(_ id: Int) -> Bool {
        guard let active = rounds[id], let transport = active.round.probe.check.transport else { return false }
        return active.targets.flatMap(rounds.ids).contains {
            $0 != id && rounds[$0]?.round.probe.check.transport == transport
        }
    }

    /// Takes note that there is no way to ask, which counts as a failure.
    mutating func noteNoWay(_ id: Int, _ reason: String, at now: Instant) -> Findings {
        var findings = Findings()
        if let active = rounds[id] { note(.failure(reason), latency: nil, of: active, at: now, &findings) }
        return findings
    }

    /// `latency`: nil where nothing was asked.
    private mutating func note(
        _ result: ProbeResult, weight: UInt16? = nil, latency: Duration?, of active: Rounds.Active, at now: Instant,
        _ findings: inout Findings
    ) {
        let probe = active.round.probe
        for member in active.targets {
            guard states[member.service]?.health.asks(probe) == true else { continue }
            if let latency {
                record.count(probe, of: member.service, isSuccess: result.isSuccess, latency: latency)
            }
            let known = states[member.service]?.health.answeredPorts(of: member.server)
            if let changes = states[member.service]?
                .record(result, of: probe, on: member.server, weight: weight, at: now), changes.hasNews
            {
                findings.changes.append((member.service, changes))
            }
            if let ports = states[member.service]?.health.answeredPorts(of: member.server), ports != known {
                findings.answeredPorts.append((member, ports))
            }
        }
    }

    // MARK: Time, clients and operators

    /// Returns what time alone has changed: slow starts, and the ends of damping.
    mutating func advance(to now: Instant) -> [(service: ServiceAddress, changes: ServiceState.Changes)] {
        var all: [(service: ServiceAddress, changes: ServiceState.Changes)] = []
        // Their addresses alone: a state that the loop held would be copied when it changes.
        for service in states.filter(\.value.isTimed).map(\.key) {
            if let changes = states[service]?.advance(to: now), changes.hasNews { all.append((service, changes)) }
        }
        return all
    }

    /// Takes ports that clients were seen to use, the most important ones first. Returns nil where there is no such service.
    mutating func learn(_ ports: [UInt16], of service: ServiceAddress, at now: Instant) -> Learning? {
        guard let asked = states[service]?.health.questions,
            let (forgotten, changes) = states[service]?.learn(ports: ports, at: now)
        else { return nil }
        if !forgotten.isEmpty { forgetUnaskedChecks() }
        return Learning(
            forgotten: forgotten, changes: changes, hasNewQuestions: states[service]?.health.questions != asked)
    }

    /// Makes the drained members of the service these.
    mutating func setDrained(
        _ drained: Set<IPAddress>, of service: ServiceAddress, at now: Instant
    ) -> ServiceState.Changes? {
        states[service]?.setDrained(drained, at: now)
    }

    // MARK: Checks out of turn

    /// Takes the numbers of SYNs that members have not answered. Returns the rounds that are asked out of turn from now
    /// on, as `nextOutOfTurn` says. Only connects and pings are: other checks keep their pace.
    mutating func suspect(_ unanswered: [ServiceMember: UInt32], at now: Instant) -> [Int] {
        var begun: [Int] = []
        for member in outOfTurn.suspects(unanswered) where isUp(member) {
            for id in rounds.ids(of: member) {
                guard let active = rounds[id], active.round.probe.check.isBare else { continue }
                let begins = outOfTurn.begin(
                    id, for: member, unanswered: unanswered[member] ?? 0, fall: fall(of: active),
                    interval: active.round.pace.fastInterval, at: now)
                if begins { begun.append(id) }
            }
        }
        return begun
    }

    /// The most failures in a row that anybody who wants to know needs for a verdict.
    private func fall(of active: Rounds.Active) -> Int {
        active.targets.compactMap { states[$0.service]?.health.fall(of: active.round.probe) }.max() ?? 0
    }

    /// Returns when the round is to be asked out of turn, unless handshakes with the member complete again; nil when it is
    /// no longer asked out of turn.
    func nextOutOfTurn(_ id: Int) -> (member: ServiceMember, time: Instant)? {
        guard let (member, earliest) = outOfTurn.next(id), isUp(member), let active = rounds[id] else { return nil }
        // A short disturbance must not meet the question of its turn and this one.
        let last = [active.asked, active.refused].compactMap(\.self).max()
        return (member, max(earliest, last.map { $0 + OutOfTurnChecks.distance } ?? earliest))
    }

    /// Notes what a question out of turn has brought, after `take`.
    mutating func noteOutOfTurn(_ id: Int, _ verdict: CheckVerdict) {
        if verdict.isPassed { outOfTurn.end(id) } else { outOfTurn.noteFailure(id) }
    }

    /// Handshakes with the member complete again. That delays checks out of turn, and no others.
    mutating func postponeOutOfTurn(_ id: Int, at now: Instant) { outOfTurn.postpone(id, at: now) }

    mutating func endOutOfTurn(_ id: Int) { outOfTurn.end(id) }

    // MARK: Configurations

    /// Begins with the services of the configuration, as the data plane was found and flap damping was saved. `answered`:
    /// learnt ports that have answered, of each service that learns ports.
    mutating func begin(
        _ configuration: DirectorConfiguration, found: DataPlaneSnapshot, damping: [DampingFile.Entry],
        answered: [ServiceAddress: [IPAddress: Set<UInt16>]], overrides: Overrides, at now: Instant
    ) {
        for service in configuration.services {
            states[service.address] = ServiceState(
                takingOver: service, found: found, damping: damping,
                answered: answered[service.address] ?? [:], overrides: overrides, at: now)
        }
    }

    /// Goes over to another configuration. Returns the transitions of each service, to be told once all is applied.
    mutating func reconfigure(_ change: Reconfiguration) -> Reconfiguration.Transitions {
        let (states, transitions) = change.states(from: states)
        self.states = states
        forgetUnaskedChecks()
        doubts.keep { states[$0] != nil }
        return transitions
    }

    private mutating func forgetUnaskedChecks() {
        record.keep { states[$0]?.health.asks($1) ?? false }
    }

    // MARK: Damping that outlives the daemon

    /// Notes that damping has changed. Returns whether the caller has to save it soon; false when somebody does already.
    mutating func noteUnsavedDamping() -> Bool {
        defer { hasUnsavedDamping = true }
        return !hasUnsavedDamping
    }

    /// Returns what is to be saved; nil when nothing has changed.
    mutating func takeUnsavedDamping() -> [DampingFile.Entry]? {
        guard hasUnsavedDamping else { return nil }
        hasUnsavedDamping = false
        return states.flatMap { service, state in
            state.damping.map { DampingFile.Entry(service: service, server: $0, damping: $1) }
        }
    }
}

extension ServiceState.Changes {
    fileprivate var hasNews: Bool { hasNewWeights || hasNewDamping || !transitions.isEmpty }
}
