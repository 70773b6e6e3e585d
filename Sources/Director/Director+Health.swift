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
        configuration.checks.kind == .auto && address.isAnyPort
    }

    /// What has to answer on every real server of the service: in automatic checks each port that it has.
    func required(_ service: VirtualService) -> Set<Probe> {
        switch configuration.checks.kind {
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
            let down = configuration.checks.kind == .none ? [] : adopted.filter(\.isDown).map(\.address)
            health[service.address] = ServiceHealth(
                required: required(service), rise: configuration.checks.rise, fall: configuration.checks.fall,
                initiallyDown: Set(down),
                answered: isAutomatic(service.address)
                    ? try running?.dataPlane.answeredPorts(of: service.address) ?? [:] : [:])
            for server in service.servers {
                let isDown = down.contains(server.address)
                states[Target(service: service.address, server: server.address)] = State(
                    isUp: !isDown, since: Date(), reason: isDown ? "was down when this daemon took over" : nil)
            }
        }
    }

    func watch(_ target: Target) async {
        let clock = ContinuousClock()
        var next = clock.now
        while !Task.isCancelled {
            await check(target)
            next = max(next.advanced(by: configuration.checks.interval), clock.now)
            try? await clock.sleep(until: next)
        }
    }

    func check(_ target: Target) async {
        guard let questions = health[target.service]?.questions else { return }
        let way: Prober.Way
        switch tunnel(to: target) {
        case .success(let found): way = found
        case .failure(let none):
            for probe in questions {
                health[target.service]?.record(.failure(none.reason), of: probe, on: target.server)
            }
            settle(target.service)
            return
        }
        let timeout = configuration.checks.timeout
        let prober = prober
        await withTaskGroup(of: (Probe, ProbeResult).self) { group in
            for probe in questions {
                let isUndecided = health[target.service]?.isUndecided(probe, of: target.server) ?? true
                group.addTask {
                    // The question beside it, asked where its answer may soon be news, tells which half is broken.
                    async let direct =
                        isUndecided && way.isTunnel
                        ? prober.ask(probe, by: .direct(target.server), timeout: timeout) : nil
                    let tunnel = await prober.ask(probe, by: way, timeout: timeout)
                    guard way.isTunnel else { return (probe, tunnel) }
                    return (probe, Diagnosis.result(tunnel: tunnel, direct: await direct, server: target.server))
                }
            }
            for await (probe, result) in group {
                record(result, of: probe, on: target)
                if case .failure(_, hostAnswered: false) = result { running?.paths.askAgain(target.server) }
            }
        }
        settle(target.service)
    }

    func record(_ result: ProbeResult, of probe: Probe, on target: Target) {
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
        for server in service.servers {
            let target = Target(service: address, server: server.address)
            let verdict = health.verdict(of: server.address)
            if states[target]?.isUp != verdict.isUp {
                states[target] = State(isUp: verdict.isUp, since: Date(), reason: verdict.reason)
                changes.append((target, verdict))
            } else if !verdict.isUp {
                states[target]?.reason = verdict.reason
            }
        }
        guard !changes.isEmpty else { return }
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
        if up.isEmpty { logger.critical("no real server is left for \(address): clients get ICMP port unreachable") }
    }

    /// Checks a real server at once whose clients' SYNs no ACK follows, as often as it takes for a verdict.
    func watchSilence() async {
        var seen: [Target: UInt32] = [:]
        while !Task.isCancelled {
            for (target, state) in states where state.isUp {
                guard let dataPlane = running?.dataPlane,
                    let id = dataPlane.serverID(service: target.service, server: target.server)
                else { continue }
                let unanswered = dataPlane.unansweredSYNs(server: id)
                let isNews = unanswered >= Self.suspiciousAfter && unanswered != seen[target]
                seen[target] = unanswered
                guard isNews, underSuspicion.insert(target).inserted else { continue }
                Task {
                    for _ in 0..<configuration.checks.fall where states[target]?.isUp == true {
                        // A handshake that completed meanwhile says more than a check's answer that was lost.
                        guard dataPlane.unansweredSYNs(server: id) >= Self.suspiciousAfter else { break }
                        await check(target)
                    }
                    underSuspicion.remove(target)
                }
            }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }
}
