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

    /// Servers that the last daemon had taken out stay out until they answer.
    func takeOverHealth(from snapshot: DataPlaneSnapshot) throws {
        for service in configuration.services {
            let adopted = snapshot.services.first { $0.listeners.contains(service.address) }?.servers ?? []
            let down =
                configuration.checks(of: service.address).asks ? Set(adopted.filter(\.isDown).map(\.address)) : []
            health[service.address] = try freshHealth(of: service, initiallyDown: down)
            for server in service.servers {
                let isDown = down.contains(server.address)
                states[Target(service: service.address, server: server.address)] = State(
                    isUp: !isDown, since: Date(), reason: isDown ? "was down when this daemon took over" : nil)
            }
        }
    }

    func watch(_ round: Round) async {
        let clock = ContinuousClock()
        var next = clock.now
        while !Task.isCancelled {
            await check(round)
            next = max(next.advanced(by: round.interval), clock.now)
            try? await clock.sleep(until: next)
        }
    }

    func check(_ round: Round) async {
        let target = round.target
        guard let questions = round.probe.map({ [$0] }) ?? health[target.service]?.questions else { return }
        let way: Prober.Way
        switch tunnel(to: target) {
        case .success(let found): way = found
        case .failure(let none):
            for probe in questions { record(.failure(none.reason), of: probe, on: target) }
            settle(target.service)
            return
        }
        let prober = prober
        await withTaskGroup(of: Answer.self) { group in
            for probe in questions {
                let isUndecided = health[target.service]?.isUndecided(probe, of: target.server) ?? true
                group.addTask {
                    await Self.ask(probe, round: round, by: way, isUndecided: isUndecided, prober: prober)
                }
            }
            for await answer in group {
                // What was no longer to be asked when the answer came.
                guard !Task.isCancelled else { continue }
                if answer.result.isSuccess { askedWeights[target, default: [:]][answer.probe] = answer.weight }
                record(answer.result, of: answer.probe, on: target)
                if case .failure(_, hostAnswered: false) = answer.result { running?.paths.askAgain(target.server) }
            }
        }
        guard !Task.isCancelled else { return }
        settle(target.service)
    }

    private struct Answer: Sendable {
        var probe: Probe
        var result: ProbeResult
        var weight: UInt16?
    }

    private static func ask(
        _ probe: Probe, round: Round, by way: Prober.Way, isUndecided: Bool, prober: Prober
    ) async -> Answer {
        let server = round.target.server
        if case .check(let check, let via) = probe {
            let verdict = await prober.ask(
                check.addressed(to: server), via: via, by: way, server: server, timeout: round.timeout)
            switch verdict {
            case .passed(let pass):
                return Answer(probe: probe, result: .success, weight: pass.weight.map { UInt16(clamping: $0) })
            case .failed(let failure):
                let shown = via == .direct ? Prober.Way.direct(server) : way
                return Answer(
                    probe: probe,
                    result: .failure("\(check) \(shown): \(failure.reason)", hostAnswered: failure.hostAnswered))
            }
        }
        // The question beside it, asked where its answer may soon be news, tells which half is broken.
        async let direct =
            isUndecided && way.isTunnel ? prober.ask(probe, by: .direct(server), timeout: round.timeout) : nil
        let tunnel = await prober.ask(probe, by: way, timeout: round.timeout)
        guard way.isTunnel else { return Answer(probe: probe, result: tunnel) }
        return Answer(
            probe: probe, result: Diagnosis.result(tunnel: tunnel, direct: await direct, server: server))
    }

    func record(_ result: ProbeResult, of probe: Probe, on target: Target) {
        guard states[target] != nil, health[target.service]?.questions.contains(probe) == true else { return }
        let known = health[target.service]?.answeredPorts(of: target.server)
        health[target.service]?.record(result, of: probe, on: target.server)
        guard let ports = health[target.service]?.answeredPorts(of: target.server), ports != known,
            let dataPlane = running?.dataPlane,
            let id = dataPlane.serverID(service: target.service, server: target.server)
        else { return }
        do { try dataPlane.setAnsweredPorts(ports, of: id) } catch { logger.error("\(error)") }
    }

    struct NoWay: Error { var reason: String }

    func tunnel(to target: Target) -> Swift.Result<Prober.Way, NoWay> {
        guard let running, running.checkDevice.takesChecks,
            let id = running.dataPlane.serverID(service: target.service, server: target.server)
        else { return .failure(NoWay(reason: "the director is stopping")) }
        switch Swift.Result(catching: { try self.way(to: target.server, by: running.paths) }) {
        case .success(.found(let path)) where path.isLocal:
            let vip = target.service.vip
            return .success(.direct((try? localDestination(vip: vip, server: target.server)) ?? target.server))
        case .success(.found(let path)):
            return .success(
                .tunnel(
                    vip: target.service.vip, mark: XDPDataPlane.checkMark(server: id),
                    device: running.checkDevice.link.index,
                    source: path.source))
        case .success(.none(let reason)): return .failure(NoWay(reason: reason))
        case .failure(let error): return .failure(NoWay(reason: "\(error)"))
        }
    }

    /// Makes the data plane follow the verdicts, and says what changed.
    func settle(_ address: ServiceAddress) {
        guard let service = configuration.services.first(where: { $0.address == address }),
            let health = health[address]
        else { return }
        var changes: [(Target, ServiceHealth.Verdict)] = []
        var hasNewWeights = false
        for server in service.servers {
            let target = Target(service: address, server: server.address)
            let verdict = health.verdict(of: server.address)
            let weight = askedWeights[target]?.values.min()
            if verdict.isUp, states[target] != nil, weight != states[target]?.weight {
                let before = states[target]?.weight ?? server.weight
                logger.notice(
                    "real server \(server.address) of \(address) has weight \(weight ?? server.weight) by its checks, \(before) before"
                )
                states[target]?.weight = weight
                hasNewWeights = true
            }
            if states[target]?.isUp != verdict.isUp {
                states[target] = State(
                    isUp: verdict.isUp, since: Date(), reason: verdict.reason, weight: states[target]?.weight)
                changes.append((target, verdict))
            } else if !verdict.isUp {
                states[target]?.reason = verdict.reason
            }
        }
        guard !changes.isEmpty || hasNewWeights else { return }
        do {
            // What a server left half-open when it died must not weigh on it now.
            if changes.contains(where: \.1.isUp) { try running?.dataPlane.sweep() }
            try applyServices()
        } catch {
            logger.error("apply health of \(address): \(error)")
            owesServices = true
        }
        let up = service.servers.filter { states[Target(service: address, server: $0.address)]?.isUp == true }
        for (target, verdict) in changes {
            let left = "\(up.count) of \(service.servers.count) left"
            if verdict.isUp {
                logger.notice("real server \(target.server) of \(address) is up; \(left)")
            } else {
                logger.warning(
                    "real server \(target.server) of \(address) is down: \(verdict.reason ?? "no reason known"); \(left)"
                )
            }
        }
        if up.isEmpty, !changes.isEmpty {
            logger.critical("no real server is left for \(address): clients get ICMP port unreachable")
        }
    }

    /// Checks a real server at once whose clients' SYNs no ACK follows, as often as it takes for a verdict.
    func watchSilence() async {
        var seen: [Target: UInt32] = [:]
        while !Task.isCancelled {
            for (target, state) in states where state.isUp && configuration.watchesSYNs {
                let rounds = rounds(of: target)
                guard !rounds.isEmpty, let dataPlane = running?.dataPlane,
                    let id = dataPlane.serverID(service: target.service, server: target.server)
                else { continue }
                let unanswered = dataPlane.unansweredSYNs(server: id)
                let isNews = unanswered >= Self.suspiciousAfter && unanswered != seen[target]
                seen[target] = unanswered
                guard isNews, underSuspicion.insert(target).inserted else { continue }
                Task {
                    for _ in 0..<(rounds.map(\.fall).max() ?? 0) where states[target]?.isUp == true {
                        // A handshake that completed meanwhile says more than a check's answer that was lost.
                        guard dataPlane.unansweredSYNs(server: id) >= Self.suspiciousAfter else { break }
                        for round in rounds { await check(round) }
                    }
                    underSuspicion.remove(target)
                }
            }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }
}
