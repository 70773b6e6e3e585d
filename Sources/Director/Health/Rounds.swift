internal import Addresses
internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// All that is asked over and over, who wants to know, and what is next. It has no clock: whoever calls says what time
/// it is.
struct Rounds {
    typealias Instant = ContinuousClock.Instant

    struct Active {
        var round: Round
        /// Who wants to know; never empty.
        var targets: [ServiceMember]
        /// When it was asked in its turn; nil when that is answered.
        fileprivate(set) var asked: Instant?
        /// When the host last said no.
        fileprivate(set) var refused: Instant?
    }

    private var active: [Int: Active] = [:]
    private var ofTarget: [ServiceMember: [Int]] = [:]
    private var last = 0
    private var schedule: CheckSchedule

    init(origin: Instant) { schedule = CheckSchedule(origin: origin) }

    /// Nil where nobody wants to know any more. Ids are not used again.
    subscript(id: Int) -> Active? { active[id] }

    /// The rounds of the real server as a member of the service.
    func ids(of target: ServiceMember) -> [Int] { ofTarget[target] ?? [] }

    var ids: Set<Int> { Set(active.keys) }

    /// Makes them those that are wanted, new ones in this order. What stays is not disturbed. Returns the ids of those
    /// that nobody wants any more.
    mutating func update(to wanted: [(round: Round, target: ServiceMember)], at now: Instant) -> Set<Int> {
        var targets: [Round: [ServiceMember]] = [:]
        var order: [Round] = []
        for (round, target) in wanted {
            if targets[round] == nil { order.append(round) }
            targets[round, default: []].append(target)
        }
        let ids = Dictionary(uniqueKeysWithValues: active.map { ($0.value.round, $0.key) })
        let gone = Set(ids.filter { targets[$0.key] == nil }.values)
        for id in gone {
            schedule.remove(id)
            active[id] = nil
        }
        ofTarget = [:]
        var added: [(key: Int, pace: CheckSchedule.Pace)] = []
        for round in order {
            let id = ids[round] ?? last + 1
            if ids[round] == nil {
                last = id
                added.append((id, round.pace))
            }
            active[id, default: Active(round: round, targets: [])].targets = targets[round] ?? []
            for target in targets[round] ?? [] { ofTarget[target, default: []].append(id) }
        }
        schedule.add(added, at: now)
        return gone
    }

    // MARK: Their turns

    mutating func takeDue(at now: Instant) -> [Int] {
        let due = schedule.takeDue(at: now)
        for id in due { active[id]?.asked = now }
        return due
    }

    mutating func finish(_ id: Int, isInTransition: Bool, at now: Instant) {
        active[id]?.asked = nil
        schedule.finish(id, isInTransition: isInTransition, at: now)
    }

    var nextDue: Instant? { schedule.nextDue }

    mutating func noteRefused(_ id: Int, at now: Instant) { active[id]?.refused = now }
}

/// One question to a real server, asked over and over. Services that ask the same of the same host share it.
struct Round: Hashable {
    var server: IPAddress
    /// To which the question goes through the tunnel; nil: it goes to the server's own address.
    var vip: IPAddress?
    var probe: Probe
    var pace: CheckSchedule.Pace
    var timeout: Duration
}

extension Round {
    /// What a service asks of one of its real servers. `questions` are those of the service's health, which a policy's
    /// kind and the ports that clients use decide.
    static func all(
        of server: IPAddress, vip: IPAddress, checks: ServiceChecks, questions: Set<Probe>
    ) -> [Round] {
        switch checks {
        case .policy(let policy) where policy.kind == .none: []
        case .policy(let policy):
            questions.sorted { $0.description < $1.description }.map {
                Round(
                    server: server, vip: vip, probe: $0,
                    pace: CheckSchedule.Pace(interval: policy.interval, fastInterval: policy.fastInterval),
                    timeout: policy.timeout)
            }
        case .listed(let checks):
            checks.map {
                Round(
                    server: server, vip: $0.via == .direct ? nil : vip, probe: $0.probe,
                    pace: CheckSchedule.Pace(interval: $0.interval, fastInterval: $0.fastInterval), timeout: $0.timeout)
            }
        }
    }
}

extension ServiceCheck {
    var probe: Probe { Probe(check, via: via) }
}
