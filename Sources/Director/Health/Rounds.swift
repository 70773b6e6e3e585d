internal import Addresses
internal import DataPlane
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// The rounds, their members and their schedule. The type has no clock: the caller passes the time.
struct Rounds {
    typealias Instant = ContinuousClock.Instant

    struct Active {
        var round: Round
        /// The members that the round's answers are for. Never empty.
        var targets: [ServiceMember]
        /// The time of the open question in turn. Nil when none is open.
        fileprivate(set) var asked: Instant?
        /// The time of the host's last refusal. Nil for none.
        fileprivate(set) var refused: Instant?
    }

    private var active: [Int: Active] = [:]
    private var ofTarget: [ServiceMember: [Int]] = [:]
    private var last = 0
    private var schedule: CheckSchedule

    init(origin: Instant) { schedule = CheckSchedule(origin: origin) }

    /// The round with this id, or nil where it was removed. Ids are not used again.
    subscript(id: Int) -> Active? { active[id] }

    /// Returns the ids of the member's rounds.
    func ids(of target: ServiceMember) -> [Int] { ofTarget[target] ?? [] }

    var ids: Set<Int> { Set(active.keys) }

    /// Adds and removes rounds to match `wanted`. New rounds are added in the order of `wanted`. Rounds that stay keep
    /// their schedule. Returns the ids of removed rounds.
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

    // MARK: Turns

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

/// A repeated probe of a real server. Services share a round if all its values are equal, the VIP included.
struct Round: Hashable {
    var server: IPAddress
    /// The VIP to which questions go through the tunnel. Nil where they go to the server's own address.
    var vip: IPAddress?
    var probe: Probe
    var pace: CheckSchedule.Pace
    var timeout: Duration
}

extension Round {
    /// Returns the rounds of a service for one of its real servers. `questions` are the probes of the service's health,
    /// which follow from the policy's kind and the learnt ports.
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
