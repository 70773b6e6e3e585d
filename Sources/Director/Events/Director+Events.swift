internal import FoundationEssentials
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// What happens is told: to whoever follows, and to the service's program.
extension Director {
    /// What two events are of that undo each other.
    struct Aspect: Hashable {
        enum Kind { case health, drain, service, quorum, sorryServer }

        var kind: Kind
        var service: ServiceAddress
        var server: IPv4Address?
    }

    func tell(_ transition: HealthTransition, of service: ServiceAddress) {
        switch transition {
        case .serverUp(let server): tell(.serverUp, of: service, server: server)
        case .serverDown(let server, let reason): tell(.serverDown, of: service, server: server, reason: reason)
        case .serverHeld(let server, let time):
            tell(.serverDamped, of: service, server: server, reason: "held out for \(Self.rounded(time))")
        case .weight, .serverUnproven: break
        case .quorumLost: tell(.quorumLost, of: service)
        case .quorumRegained: tell(.quorumRegained, of: service)
        case .sorryServer(let server, let serves):
            tell(serves ? .sorryServerIn : .sorryServerOut, of: service, server: server)
        }
        tellWhetherItServes(service)
    }

    /// `since` where it is known better than by what was told before.
    func tell(
        _ kind: DirectorEvent.Kind, of service: ServiceAddress, server: IPv4Address? = nil, reason: String? = nil,
        since: Date? = nil, isStart: Bool = false
    ) {
        var event = DirectorEvent(
            kind: kind, service: service, server: server, reason: reason, standing: standing(of: service))
        if let aspect = kind.aspect {
            let former = lastTold.updateValue(
                event.time, forKey: Aspect(kind: aspect, service: service, server: server))
            event.since = since ?? former ?? started
        }
        event = events.append(event)
        if openEvents.take(event) { rememberOpenEvents() }
        if let script = configuration[service]?.notification { notifier.tell(event, to: script, isStart: isStart) }
    }

    /// At the start, once the data plane has it: what the services lack, whoever told it before; and what they were told
    /// to lack by the last daemon, and have again.
    func tellWhatBegins() {
        takeOverOpenEvents()
        let former = openEvents.events
        for service in configuration.services.map(\.address) {
            for transition in health[service]?.beginnings ?? [] { self.transition(transition, of: service) }
            tellWhetherItServes(service)
        }
        for (service, events) in Dictionary(grouping: former, by: \.service) {
            afterFirstVerdict(of: service) { $0.tellEnds(of: events) }
        }
        tellStarts()
    }

    /// Tells those who asked for it how services are that begin: at the daemon's start, and with a reload that brings them.
    func tellStarts() {
        for service in configuration.services
        where service.notification?.tellsAtStart == true && begun.insert(service.address).inserted {
            afterFirstVerdict(of: service.address) { [address = service.address] in $0.tellStart(of: address) }
        }
    }

    /// What has been told since the start is not told again.
    private func tellStart(of service: ServiceAddress) {
        guard let state = health[service] else { return }
        func tellFirst(_ kind: DirectorEvent.Kind, of server: IPv4Address? = nil, reason: String? = nil) {
            guard let aspect = kind.aspect,
                lastTold[Aspect(kind: aspect, service: service, server: server)] == nil
            else { return }
            tell(kind, of: service, server: server, reason: reason, isStart: true)
        }
        for (address, server) in state.servers.sorted(by: { $0.key < $1.key }) where server.condition.isCounted {
            tellFirst(server.condition.isUp ? .serverUp : .serverDown, of: address, reason: server.reason)
        }
        if state.quorum.isUp { tellFirst(.quorumRegained) }
        if state.usableWeight > 0 { tellFirst(.serviceUp) }
    }

    /// Until the first checks have ended, a service only seems to be usable.
    private func afterFirstVerdict(
        of service: ServiceAddress, _ body: @escaping @Sendable (isolated Director) -> Void
    ) {
        guard let time = firstVerdict(of: service) else { return body(self) }
        Task {
            try await clock.sleep(for: time)
            body(self)
        }
    }

    /// Of those that have not been told again, and so have another time.
    private func tellEnds(of events: [DirectorEvent]) {
        for event in events where openEvents.events.contains(event) {
            guard let end = event.kind.end else { continue }
            tell(end, of: event.service, server: event.server, since: event.time)
        }
    }

    /// By when the checks that begin now have verdicts; nil: nothing is asked.
    private func firstVerdict(of service: ServiceAddress) -> Duration? {
        let timeout: Duration
        switch configuration[service]?.checks {
        case nil: return nil
        case .policy(let policy) where policy.kind == .none: return nil
        case .policy(let policy): timeout = policy.timeout
        case .listed(let checks): timeout = checks.map(\.timeout).max() ?? .zero
        }
        return timeout + .milliseconds(500)
    }

    // MARK: What outlives the daemon

    private var openEventsFile: OpenEventsFile { OpenEventsFile(path: instance.openEvents) }

    private func takeOverOpenEvents() {
        let (open, problem) = openEventsFile.read()
        if let problem { logger.error("\(problem)") }
        openEvents = open
        keepOpenEvents { event in
            configuration.services.first { $0.listeners.contains(event.service) }?.address
        }
    }

    private func keepOpenEvents(_ address: (DirectorEvent) -> ServiceAddress?) {
        if openEvents.keep(address) { rememberOpenEvents() }
    }

    /// Once for all that is told at a time.
    private func rememberOpenEvents() {
        guard !remembersSoon, running != nil else { return }
        remembersSoon = true
        Task { writeWhatOutlivesDaemon() }
    }

    /// What has not been written yet.
    public func writeWhatOutlivesDaemon() {
        saveDamping()
        guard remembersSoon else { return }
        remembersSoon = false
        do { try openEventsFile.write(openEvents) } catch { logger.error("\(error)") }
    }

    /// Once it has lost its last real server that gets new connections, or has one again.
    func tellWhetherItServes(_ service: ServiceAddress) {
        guard let state = health[service] else { return }
        if state.usableWeight == 0, withoutServer.insert(service).inserted {
            tell(.serviceDown, of: service)
        } else if state.usableWeight > 0, withoutServer.remove(service) != nil {
            tell(.serviceUp, of: service)
        }
    }

    /// Forgets what was told of services and real servers that are no longer configured.
    func forgetWhatIsGone() {
        lastTold = lastTold.filter { aspect, _ in
            health[aspect.service].map { state in
                aspect.server.map { state.servers[$0] != nil || state.policy.sorryServer == $0 } ?? true
            } ?? false
        }
        withoutServer = withoutServer.filter { health[$0] != nil }
        begun = begun.filter { health[$0] != nil }
        emptied = emptied.filter { health[$0]?.numberUp == 0 }
        keepOpenEvents { health[$0.service] == nil ? nil : $0.service }
    }

    func standing(of service: ServiceAddress) -> DirectorEvent.Standing {
        guard let state = health[service] else { return .init(up: 0, total: 0, weight: 0, quorum: 0) }
        return .init(
            up: state.usableCount, total: state.servers.count, weight: state.usableWeight,
            quorum: state.quorum.rule.required)
    }

    /// Of what an operator types; nil is any. A service may be called by any of its listeners.
    public func eventFilter(service: String?, server: String?) throws -> EventRing.Filter {
        func valid<Value>(_ place: String, _ body: () throws(InvalidValue) -> Value) throws -> Value {
            do { return try body() } catch {
                throw DirectorError(.badValue, "\(ConfigurationError(place: place, error))")
            }
        }
        var filter = EventRing.Filter()
        if let service {
            let listener = try valid("service \(service)") { () throws(InvalidValue) in
                try AddressText.service(service)
            }
            filter.service = configuration.services.first { $0.listeners.contains(listener) }?.address ?? listener
        }
        if let server {
            filter.server = try valid("server \(server)") { () throws(InvalidValue) in try AddressText.address(server) }
        }
        return filter
    }
}

extension DirectorEvent.Kind {
    /// Nil: what it tells has no opposite.
    fileprivate var aspect: Director.Aspect.Kind? {
        switch self {
        case .serverUp, .serverDown: .health
        case .serverDamped: nil
        case .serverDrained, .serverUndrained: .drain
        case .serviceDown, .serviceUp: .service
        case .quorumLost, .quorumRegained: .quorum
        case .sorryServerIn, .sorryServerOut: .sorryServer
        case .restored: nil
        }
    }
}
