internal import DataPlane
internal import FoundationEssentials
internal import HealthChecks
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// Checks, and what follows from them.
extension Director {
    func isAutomatic(_ address: ServiceAddress) -> Bool {
        if case .policy(let policy) = configuration.checks(of: address) {
            policy.kind == .auto && address.isAnyPort
        } else {
            false
        }
    }

    /// Health of which nothing is known but what is out.
    func freshHealth(
        of service: VirtualService, initiallyDown: Set<IPv4Address>
    ) throws -> ServiceHealth {
        switch configuration.checks(of: service.address) {
        case .policy(let policy):
            return ServiceHealth(
                required: Self.required(service, policy.kind), rise: policy.rise, fall: policy.fall,
                initiallyDown: policy.kind == .none ? [] : initiallyDown,
                answered: isAutomatic(service.address)
                    ? try running?.dataPlane.answeredPorts(of: service.address) ?? [:] : [:])
        case .listed(let checks):
            let paces = Dictionary(
                checks.map { ($0.probe, ServiceHealth.Pace(rise: $0.rise, fall: $0.fall)) },
                uniquingKeysWith: { one, _ in one })
            return ServiceHealth(
                required: Set(paces.keys), rise: 2, fall: 2, paces: paces, initiallyDown: initiallyDown)
        }
    }

    /// What has to answer on every real server of the service: in automatic checks each port that it has.
    private static func required(_ service: VirtualService, _ kind: CheckPolicy.Kind) -> Set<Probe> {
        switch kind {
        case .none: return []
        case .ping: return [.ping]
        case .tcp(let port): return (port ?? service.address.port).map { [.tcp(port: $0)] } ?? [.ping]
        case .auto:
            let ports = service.listeners.filter { $0.transport == .tcp }.compactMap(\.port)
            return ports.isEmpty ? [.ping] : Set(ports.map { .tcp(port: $0) })
        }
    }

    /// Servers that the last daemon had taken out stay out until they answer, and its sorry server serves until the real
    /// servers are a quorum again.
    func takeOverHealth(from snapshot: DataPlaneSnapshot) throws {
        for service in configuration.services {
            let address = service.address
            let adopted = snapshot.services.first { $0.listeners.contains(address) }
            let down =
                configuration.checks(of: address).asks
                ? Set(adopted?.servers.filter(\.isDown).map(\.address) ?? []) : []
            let policy = configuration.policy(of: address)
            states[address] = ServiceState(
                servers: service.servers, policy: policy, health: try freshHealth(of: service, initiallyDown: down),
                down: down, drained: drained(of: service),
                hadQuorum: policy.sorryServer.map { adopted?.spared($0) ?? false } ?? false, at: .now)
        }
    }

    // MARK: Asking

    /// Asks what a round asks, and has each service that wants to know take note of the answer.
    func ask(_ id: Int) async {
        guard let active = rounds[id], let first = active.targets.first else { return }
        let round = active.round
        let way: Prober.Way
        switch self.way(of: round, for: first) {
        case .success(let found): way = found
        case .failure(let none):
            record(Answer(result: .failure(none.reason)), of: id)
            return
        }
        let answer = await Self.ask(round, by: way, isUndecided: isUndecided(active), prober: prober)
        // What was no longer to be asked when the answer came.
        guard !Task.isCancelled, rounds[id] != nil else { return }
        guard let answer else { return tellShortage() }
        record(answer, of: id)
        if case .failure(_, hostAnswered: false) = answer.result { running?.paths.askAgain(round.server) }
    }

    /// An answer may be news to somebody.
    private func isUndecided(_ active: ActiveRound) -> Bool {
        active.targets.contains {
            states[$0.service]?.health.isUndecided(active.round.probe, of: active.round.server) ?? true
        }
    }

    /// A round's question, and the one beside it.
    struct Pair {
        var tunnel: ProbeLoop.Answer?
        var direct: ProbeLoop.Answer?
    }

    /// What a round asks, where that is a connect or a ping, which need no task: one question, or a pair of them. nil: it is
    /// another check, or there is no way.
    func questions(of id: Int) -> [ProbeLoop.Question]? {
        guard let active = rounds[id], let first = active.targets.first,
            case .success(let way) = way(of: active.round, for: first)
        else { return nil }
        let kind: ProbeLoop.Question.Kind
        switch active.round.probe {
        case .ping: kind = .ping
        case .tcp(let port): kind = .tcp(port: port)
        case .check: return nil
        }
        func question(_ id: Int, by way: Prober.Way) -> ProbeLoop.Question {
            ProbeLoop.Question(id: UInt64(id), kind: kind, way: way, timeout: active.round.timeout)
        }
        guard way.isTunnel, isUndecided(active) else { return [question(id * 2, by: way)] }
        pairs[id] = Pair()
        return [question(id * 2, by: way), question(id * 2 + 1, by: .direct(active.round.server))]
    }

    /// Takes the answer to a question of a round. True where the round is over by it.
    func take(_ answer: ProbeLoop.Answer, of id: Int) -> Bool {
        var tunnel = answer
        var direct: ProbeResult?
        if var pair = pairs[id] {
            if answer.question.id % 2 == 0 { pair.tunnel = answer } else { pair.direct = answer }
            pairs[id] = pair
            guard let through = pair.tunnel, let beside = pair.direct else { return false }
            pairs[id] = nil
            (tunnel, direct) = (through, beside.result)
        }
        // The round may be gone.
        guard let server = rounds[id]?.round.server else { return false }
        guard let answered = tunnel.result else {
            tellShortage(tunnel.shortage)
            return true
        }
        let result =
            tunnel.question.way.isTunnel
            ? Diagnosis.result(tunnel: answered, direct: direct, server: server) : answered
        record(Answer(result: result, latency: tunnel.latency), of: id)
        if case .failure(_, hostAnswered: false) = result { running?.paths.askAgain(server) }
        return true
    }

    /// Its verdict on a real server stays what it was, for want of an answer. Said once a minute at most.
    private func tellShortage(_ reason: String? = nil) {
        guard shortageTold.map({ $0.duration(to: .now) > .seconds(60) }) ?? true else { return }
        shortageTold = .now
        logger.error("health checks: \(reason ?? "not asked, as the director itself has no room for it")")
    }

    private struct Answer: Sendable {
        var result: ProbeResult
        var weight: UInt16?
        /// Of what was asked through the tunnel, where there is one; nil: nothing was asked.
        var latency: Duration?
    }

    private static func ask(
        _ round: Round, by way: Prober.Way, isUndecided: Bool, prober: Prober
    ) async -> Answer? {
        let server = round.server
        let probe = round.probe
        let began = ContinuousClock.now
        if case .check(let check, let via) = probe {
            let verdict = await prober.ask(
                check.addressed(to: server), via: via, by: way, server: server, timeout: round.timeout)
            switch verdict {
            case .passed(let pass):
                return Answer(
                    result: .success, weight: pass.weight.map { UInt16(clamping: $0) }, latency: pass.latency)
            case .failed(let failure) where failure.isOwn: return nil
            case .failed(let failure):
                let shown = via == .direct ? Prober.Way.direct(server) : way
                return Answer(
                    result: .failure("\(check) \(shown): \(failure.reason)", hostAnswered: failure.hostAnswered),
                    latency: began.duration(to: .now))
            }
        }
        // The question beside it, asked where its answer may soon be news, tells which half is broken.
        async let direct =
            isUndecided && way.isTunnel ? prober.ask(probe, by: .direct(server), timeout: round.timeout) : nil
        guard let tunnel = await prober.ask(probe, by: way, timeout: round.timeout) else { return nil }
        let latency = began.duration(to: .now)
        guard way.isTunnel else { return Answer(result: tunnel, latency: latency) }
        return Answer(result: Diagnosis.result(tunnel: tunnel, direct: await direct, server: server), latency: latency)
    }

    struct NoWay: Error { var reason: String }

    private func way(of round: Round, for target: Target) -> Swift.Result<Prober.Way, NoWay> {
        guard let running, running.checkDevice.takesChecks,
            let id = running.dataPlane.serverID(service: target.service, server: target.server)
        else { return .failure(NoWay(reason: "the director is stopping")) }
        // As `refreshPaths` last found it: asking the kernel would cost more than the check.
        guard let path = running.dataPlane.path(to: target.server) else {
            return .failure(NoWay(reason: unreachable[target.server] ?? "no way to \(target.server) is known yet"))
        }
        guard let vip = round.vip else { return .success(.direct(target.server)) }
        if path.isLocal {
            return .success(.direct((try? localDestination(vip: vip, server: target.server)) ?? target.server))
        }
        return .success(
            .tunnel(
                vip: vip, mark: XDPDataPlane.checkMark(server: id), device: running.checkDevice.link.index,
                source: path.source))
    }

    // MARK: What follows from an answer

    private func record(_ answer: Answer, of id: Int) {
        guard let active = rounds[id] else { return }
        if case .failure(_, hostAnswered: false) = answer.result, isOwnFault(active.round) { return }
        let probe = active.round.probe
        for target in active.targets {
            if let latency = answer.latency {
                recordCheck(probe, on: target.service, isSuccess: answer.result.isSuccess, latency: latency)
            }
            let known = states[target.service]?.health.answeredPorts(of: target.server)
            let changes = states[target.service]?.record(
                answer.result, of: probe, on: target.server, weight: answer.weight, at: .now)
            if let changes { follow(changes, of: target.service) }
            guard let ports = states[target.service]?.health.answeredPorts(of: target.server), ports != known,
                let dataPlane = running?.dataPlane,
                let id = dataPlane.serverID(service: target.service, server: target.server)
            else { continue }
            do { try dataPlane.setAnsweredPorts(ports, of: id) } catch { logger.error("\(error)") }
        }
    }

    /// Has the data plane follow soon, and the transitions told once it has.
    func follow(_ changes: ServiceState.Changes, of service: ServiceAddress) {
        guard changes.hasNewWeights || !changes.transitions.isEmpty else { return }
        if changes.hasNewWeights { unsettled.insert(service) }
        untold += changes.transitions.map { (service, $0) }
        guard !settlesSoon else { return }
        settlesSoon = true
        let earliest = settledAt
        Task {
            try? await ContinuousClock().sleep(until: earliest)
            settle()
        }
    }

    /// Makes the data plane follow what has changed, and tells it. Changes in quick succession become one, so that
    /// thousands of real servers that come back cost a few changes of the tables, not thousands. `cause`: what is to be
    /// told before all that followed from it.
    func settle(cause: () -> Void = {}) {
        settlesSoon = false
        guard !unsettled.isEmpty || !untold.isEmpty else { return cause() }
        let began = ContinuousClock.now
        let services = unsettled
        let transitions = untold
        (unsettled, untold) = ([], [])
        do {
            // What a server left half-open when it died must not weigh on it now.
            if transitions.contains(where: { if case .serverUp = $0.1 { true } else { false } }) {
                try running?.dataPlane.sweep()
            }
            try running?.dataPlane.update(desiredServices { services.contains($0.address) })
        } catch {
            let names = services.map(\.description).sorted().joined(separator: ", ")
            logger.error("apply the health of \(names): \(error)")
            owesServices = true
        }
        cause()
        for (service, transition) in transitions { self.transition(transition, of: service) }
        let took = began.duration(to: .now)
        settledAt = ContinuousClock.now + max(.milliseconds(5), took * 2)
    }

    /// Every change of a service's health comes through here, once the data plane has followed it.
    func transition(_ transition: HealthTransition, of service: ServiceAddress) {
        guard let state = states[service] else { return }
        tell(transition, of: service)
        let left = "\(state.numberUp) of \(state.servers.count) left"
        switch transition {
        case .serverUp(let server):
            emptied.remove(service)
            logger.notice("real server \(server) of \(service) is up; \(left)")
        case .serverDown(let server, let reason):
            logger.warning("real server \(server) of \(service) is down: \(reason ?? "no reason known"); \(left)")
            // Once, where many fall at a time.
            if state.numberUp > 0 {
                emptied.remove(service)
            } else if emptied.insert(service).inserted {
                let end = state.isReplaced ? "" : ": clients get ICMP port unreachable"
                logger.critical("no real server is left for \(service)\(end)")
            }
        case .serverHeld(let server, let time):
            logger.warning(
                "real server \(server) of \(service) passes its checks again, but fell too often: held out for \(Self.rounded(time)), if it stays good; \(left)"
            )
        case .weight(let server, let weight, let before):
            logger.notice("real server \(server) of \(service) has weight \(weight) by its checks, \(before) before")
        case .quorumLost(let weight):
            let rule = state.quorum.rule
            // One that begins has to gain it first.
            let bound = weight < rule.lostBelow ? rule.lostBelow : rule.regainedAt
            logger.warning(
                "\(service) lost its quorum: the weight of usable real servers is \(weight), below \(bound)")
        case .quorumRegained(let weight):
            logger.notice("\(service) has its quorum again: the weight of usable real servers is \(weight)")
        case .sorryServer(let server, serves: true):
            logger.warning("sorry server \(server) of \(service) serves new connections")
        case .sorryServer(let server, serves: false):
            logger.notice("sorry server \(server) of \(service) serves no new connections any more")
        }
    }

    static func rounded(_ time: Duration) -> String {
        DurationText.format(.seconds(max(1, Int((time / .seconds(1)).rounded()))))
    }

    // MARK: What time alone changes, and what clients say

    /// Ten times a second: slow starts and the ends of damping; and real servers whose clients' SYNs no ACK follows are
    /// checked at once, as often as it takes for a verdict.
    func watchTime() async {
        while !Task.isCancelled {
            // Their addresses alone: a state that the loop held would be copied to be changed.
            for address in states.filter(\.value.isTimed).map(\.key) {
                if let changes = states[address]?.advance(to: .now) { follow(changes, of: address) }
            }
            if configuration.watchesSYNs, let dataPlane = running?.dataPlane { suspectSilent(dataPlane) }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    private func suspectSilent(_ dataPlane: XDPDataPlane) {
        let silent = dataPlane.unansweredSYNs(atLeast: Self.suspiciousAfter)
        let before = silentBefore
        silentBefore = silent
        for (id, unanswered) in silent where before[id] != unanswered {
            guard let (service, server) = dataPlane.server(id: id) else { continue }
            let target = Target(service: service, server: server)
            let asked = roundsOfTarget[target] ?? []
            guard states[service]?.servers[server]?.condition.isUp == true, !asked.isEmpty,
                underSuspicion.insert(target).inserted
            else { continue }
            Task {
                for _ in 0..<fall(of: service) where states[service]?.servers[server]?.condition.isUp == true {
                    // A handshake that completed meanwhile says more than a check's answer that was lost.
                    guard dataPlane.unansweredSYNs(server: id) >= Self.suspiciousAfter else { break }
                    for round in asked { await ask(round) }
                }
                underSuspicion.remove(target)
            }
        }
    }
}
