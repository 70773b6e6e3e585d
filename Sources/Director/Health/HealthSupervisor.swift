internal import Addresses
internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// The health of all services. Answers of checks, time and drains come in, and changes of weights and transitions go
/// out. The supervisor has no I/O and no clock: the caller sends the questions that are due, and passes the time.
struct HealthSupervisor {
    typealias Instant = ContinuousClock.Instant

    /// The results of an answer.
    struct Findings {
        /// The changes of each service of the round.
        var changes: [(service: ServiceAddress, changes: ServiceState.Changes)] = []
        /// The learnt ports that have answered on each real server, where these ports have changed.
        var answeredPorts: [(member: ServiceMember, ports: Set<UInt16>)] = []
        /// The real server whose host did not answer. The next hop to this server may have another MAC now.
        var silentHost: IPAddress?
        /// A shortage of this machine that prevents checks. Nil for none, or where it was logged in the last minute.
        var shortage: String?
        /// The services whose checks have begun to fail by this machine's own fault, with the reason.
        var inDoubt: [(service: ServiceAddress, reason: String)] = []
    }

    /// The parameters of a round's next question.
    struct Inquiry {
        var round: Round
        /// The first of the round's members.
        var member: ServiceMember
        /// Whether the real server's own address is probed at the same time, to tell a broken tunnel from a broken
        /// service.
        var isAskedBeside: Bool
    }

    /// The results of learning ports that clients use.
    struct Learning {
        /// The learnt ports that no real server answers any more.
        var forgotten: Set<UInt16>
        var changes: ServiceState.Changes
        /// Whether the probes have changed.
        var hasNewQuestions: Bool
    }

    /// The state of each service, by its address.
    private var states: [ServiceAddress: ServiceState] = [:]
    private var rounds: Rounds
    private(set) var record = CheckRecord()
    private var outOfTurn = OutOfTurnChecks()
    private var doubts = CheckDoubts()
    /// Whether damping has changed since it was saved.
    private var hasUnsavedDamping = false

    init(at now: Instant) { rounds = Rounds(origin: now) }

    subscript(service: ServiceAddress) -> ServiceState? { states[service] }

    func isUp(_ member: ServiceMember) -> Bool {
        states[member.service]?.servers[member.server]?.condition.isUp == true
    }

    /// Returns the reason why the member has no recent result, or nil when all its checks have a recent result.
    func reasonNotAsked(_ member: ServiceMember) -> String? {
        record.reasonNotAsked(among: rounds.ids(of: member))
    }

    // MARK: Rounds

    /// Returns the due rounds, and marks each as open until `finish`.
    mutating func takeDue(at now: Instant) -> [Int] { rounds.takeDue(at: now) }

    /// The time at which the next round is due. Nil when all rounds have open questions, or there are no rounds.
    var nextDue: Instant? { rounds.nextDue }

    var roundIDs: Set<Int> { rounds.ids }

    func round(_ id: Int) -> Round? { rounds[id]?.round }

    /// Returns the parameters of a round's question, or nil when the round was removed.
    func inquiry(_ id: Int) -> Inquiry? {
        guard let active = rounds[id], let first = active.targets.first else { return nil }
        return Inquiry(round: active.round, member: first, isAskedBeside: isAskedBeside(active))
    }

    /// Returns whether the round's next question goes both through the tunnel and to the real server's own address. A
    /// bare check, which costs little, goes both ways until it is steadily up for each service.
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

    /// Schedules the round's next turn, which comes sooner while a verdict is near.
    mutating func finish(_ id: Int, at now: Instant) {
        guard let active = rounds[id] else { return }
        let isInTransition = active.targets.contains {
            states[$0.service]?.health.isInTransition(active.round.probe, of: $0.server) ?? false
        }
        rounds.finish(id, isInTransition: isInTransition, at: now)
    }

    /// Updates the rounds to the configuration and the learnt ports. Returns the ids of removed rounds.
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

    /// Notes a question of the round. `before` has the packet counts of the round's checks from before the question, or
    /// nil if they are not counted.
    mutating func noteAsked(_ id: Int, isOutOfTurn: Bool = false, before: CheckTraffic? = nil, at now: Instant) {
        doubts.begin(.init(round: id, isOutOfTurn: isOutOfTurn), before: before)
        if isOutOfTurn { outOfTurn.noteAsked(id, at: now) }
    }

    /// Notes an answer to the round's question. Returns the packet counts from before the question.
    mutating func noteAnswered(_ id: Int, isOutOfTurn: Bool) -> CheckTraffic? {
        doubts.end(.init(round: id, isOutOfTurn: isOutOfTurn))
    }

    /// Records an answer. An answer of a removed round has no findings.
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

    /// Ignores an answer that failed by the director's own fault, and proves nothing about the real server.
    mutating func passOver(_ answer: Checker.Answer) { record.noteAsked(Int(answer.id)) }

    /// Ignores a failure that was proved to come from this machine's own packet filters.
    mutating func passOver(_ answer: Checker.Answer, in doubt: CheckPathDoubt, at now: Instant) -> Findings {
        var findings = Findings()
        let id = Int(answer.id)
        guard let active = rounds[id] else { return findings }
        let reason = "\(active.round.probe) \(answer.way): \(doubt)"
        if record.noteNotAsked(id, reason, shortage: "\(doubt)", at: now) { findings.shortage = reason }
        findings.inDoubt = doubts.note(id, of: Set(active.targets.map(\.service)), at: now).map { ($0, reason) }
        return findings
    }

    /// Returns the proof that the failure is this machine's own, or nil where there is none. The proof comes from the
    /// packet counts before the question and after the failure. `checksumErrors` returns the kernel's count of packets
    /// with a wrong checksum.
    mutating func doubt(
        _ id: Int, _ failure: CheckVerdict.Failure, from before: CheckTraffic, to after: CheckTraffic,
        checksumErrors: () -> UInt64?
    ) -> CheckPathDoubt? {
        let doubt = CheckPathDoubt(from: before, to: after, failure, isShared: sharesTransport(id))
        // Answers with wrong checksums are the real server's fault, as clients cannot use them either.
        if doubt == .answerLost, doubts.hasChecksumErrors(checksumErrors()) { return nil }
        return doubt
    }

    /// Returns whether another round's packets are counted together with this round's.
    private func sharesTransport(_ id: Int) -> Bool {
        guard let active = rounds[id], let transport = active.round.probe.check.transport else { return false }
        return active.targets.flatMap(rounds.ids).contains {
            $0 != id && rounds[$0]?.round.probe.check.transport == transport
        }
    }

    /// Notes that a question has no way to the real server, which counts as a failure.
    mutating func noteNoWay(_ id: Int, _ reason: String, at now: Instant) -> Findings {
        var findings = Findings()
        if let active = rounds[id] { note(.failure(reason), latency: nil, of: active, at: now, &findings) }
        return findings
    }

    /// Records a result for each member of the round. `latency` is nil where no question was sent.
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

    /// Returns the changes by time alone, which are steps of slow starts and ends of holds.
    mutating func advance(to now: Instant) -> [(service: ServiceAddress, changes: ServiceState.Changes)] {
        var all: [(service: ServiceAddress, changes: ServiceState.Changes)] = []
        // Only the addresses are copied. A state that the loop held as well would be copied when it changes.
        for service in states.filter(\.value.isTimed).map(\.key) {
            if let changes = states[service]?.advance(to: now), changes.hasNews { all.append((service, changes)) }
        }
        return all
    }

    /// Learns ports that clients use. `ports` has the most important ones first. Returns nil where there is no such
    /// service.
    mutating func learn(_ ports: [UInt16], of service: ServiceAddress, at now: Instant) -> Learning? {
        guard let asked = states[service]?.health.questions,
            let (forgotten, changes) = states[service]?.learn(ports: ports, at: now)
        else { return nil }
        if !forgotten.isEmpty { forgetUnaskedChecks() }
        return Learning(
            forgotten: forgotten, changes: changes, hasNewQuestions: states[service]?.health.questions != asked)
    }

    /// Sets the drained members of the service. Returns nil where there is no such service.
    mutating func setDrained(
        _ drained: Set<IPAddress>, of service: ServiceAddress, at now: Instant
    ) -> ServiceState.Changes? {
        states[service]?.setDrained(drained, at: now)
    }

    // MARK: Checks out of turn

    /// Starts checks out of turn of members with unanswered SYNs. Returns the rounds that start, whose questions
    /// `nextOutOfTurn` schedules. Only connects and pings have checks out of turn. Other checks keep their pace.
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

    /// Returns the largest `fall` of the round's services.
    private func fall(of active: Rounds.Active) -> Int {
        active.targets.compactMap { states[$0.service]?.health.fall(of: active.round.probe) }.max() ?? 0
    }

    /// Returns the member and the time of the next question out of turn, or nil when the series is over. The question
    /// keeps a distance from the round's last question and refusal.
    func nextOutOfTurn(_ id: Int) -> (member: ServiceMember, time: Instant)? {
        guard let (member, earliest) = outOfTurn.next(id), isUp(member), let active = rounds[id] else { return nil }
        // One short disturbance must not hit both this question and the scheduled question before it.
        let last = [active.asked, active.refused].compactMap(\.self).max()
        return (member, max(earliest, last.map { $0 + OutOfTurnChecks.distance } ?? earliest))
    }

    /// Notes the verdict of a question out of turn, after `accept`.
    mutating func noteOutOfTurn(_ id: Int, _ verdict: CheckVerdict) {
        if verdict.isPassed { outOfTurn.end(id) } else { outOfTurn.noteFailure(id) }
    }

    /// Delays the next question out of turn, as handshakes with the member complete again.
    mutating func postponeOutOfTurn(_ id: Int, at now: Instant) { outOfTurn.postpone(id, at: now) }

    mutating func endOutOfTurn(_ id: Int) { outOfTurn.end(id) }

    // MARK: Configurations

    /// Creates the states of the configured services from the adopted data plane and the saved damping. `answered` has
    /// the learnt ports that have answered, of each service that learns ports.
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

    /// Moves the states to another configuration. Returns the transitions of each service, to log and publish after the
    /// update.
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

    // MARK: Damping across daemons

    /// Notes that damping has changed. Returns whether the caller has to schedule a write. False when one is scheduled.
    mutating func noteUnsavedDamping() -> Bool {
        defer { hasUnsavedDamping = true }
        return !hasUnsavedDamping
    }

    /// Returns the entries to save, or nil when nothing has changed.
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
