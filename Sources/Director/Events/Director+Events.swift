internal import Addresses
internal import DataPlane
internal import FoundationEssentials
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// Events are told to those who follow, and to the service's program.
extension Director {
    func publish(_ transition: HealthTransition, of service: ServiceAddress) {
        switch transition {
        case .serverUp(let server): publish(.serverUp, of: service, server: server)
        case .serverDown(let server, let reason): publish(.serverDown, of: service, server: server, reason: reason)
        case .serverHeld(let server, let time):
            publish(.serverDamped, of: service, server: server, reason: "held out for \(Self.rounded(time))")
        case .weight, .serverUnproven: break
        case .quorumLost: publish(.quorumLost, of: service)
        case .quorumRegained: publish(.quorumRegained, of: service)
        case .sorryServer(let server, let serves):
            publish(serves ? .sorryServerIn : .sorryServerOut, of: service, server: server)
        }
        publishServiceState(service)
    }

    /// `since`: since when it had been otherwise, where that is known better than by what was told before.
    func publish(
        _ kind: DirectorEvent.Kind, of service: ServiceAddress, server: IPAddress? = nil, reason: String? = nil,
        since: Date? = nil, isStart: Bool = false
    ) {
        let undated = DirectorEvent(
            kind: kind, service: service, server: server, reason: reason, standing: standing(of: service))
        let event = events.append(publisher.dated(undated, since: since))
        if publisher.note(event) { saveOpenEventsSoon() }
        if let script = configuration[service]?.notification { notifier.enqueue(event, for: script, isStart: isStart) }
    }

    /// Tells when a service has lost its last real server that gets new connections, or has one again.
    func publishServiceState(_ service: ServiceAddress) {
        guard let state = health[service] else { return }
        if let kind = publisher.serving(service, usableWeight: state.usableWeight) { publish(kind, of: service) }
    }

    func standing(of service: ServiceAddress) -> DirectorEvent.Standing {
        guard let state = health[service] else { return .init(up: 0, total: 0, weight: 0, quorum: 0) }
        return .init(
            up: state.usableCount, total: state.servers.count, weight: state.usableWeight,
            quorum: state.quorum.rule.required)
    }

    /// Forgets what was told of services and real servers that are no longer configured.
    func forgetRemovedServices() {
        let known = health
        if publisher.keep({ known[$0] }) { saveOpenEventsSoon() }
    }

    // MARK: How services begin

    /// Tells what the services lack at the start of the daemon, whoever told it before, once the data plane has it. What the
    /// last daemon told that they lack, and they have again, is told later.
    func publishInitialStates() {
        takeOverOpenEvents()
        let former = publisher.open.events
        for service in configuration.services.map(\.address) {
            for transition in health[service]?.beginnings ?? [] { logAndPublish(transition, of: service) }
            publishServiceState(service)
        }
        for (service, events) in Dictionary(grouping: former, by: \.service) {
            afterFirstVerdict(of: service) { $0.publishEnds(of: events) }
        }
        publishStarts()
    }

    /// Tells those who asked for it how services are that begin: at the daemon's start, and with a reload that brings them.
    func publishStarts() {
        for service in configuration.services
        where service.notification?.tellsAtStart == true && publisher.begins(service.address) {
            afterFirstVerdict(of: service.address) { [address = service.address] in $0.publishStart(of: address) }
        }
    }

    /// What has been told since the start is not told again.
    private func publishStart(of service: ServiceAddress) {
        guard let state = health[service] else { return }
        func publishFirst(_ kind: DirectorEvent.Kind, of server: IPAddress? = nil, reason: String? = nil) {
            if publisher.hasPublished(kind, of: service, server: server) { return }
            publish(kind, of: service, server: server, reason: reason, isStart: true)
        }
        for (address, server) in state.servers.sorted(by: { $0.key < $1.key }) where server.condition.isCounted {
            publishFirst(server.condition.isUp ? .serverUp : .serverDown, of: address, reason: server.reason)
        }
        if state.quorum.isUp { publishFirst(.quorumRegained) }
        if state.usableWeight > 0 { publishFirst(.serviceUp) }
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

    /// Tells the ends of those events that have not been told again: these would have another time.
    private func publishEnds(of events: [DirectorEvent]) {
        for event in events where publisher.open.events.contains(event) {
            guard let end = event.kind.end else { continue }
            publish(end, of: event.service, server: event.server, since: event.time)
        }
    }

    /// Returns how long the checks that begin now take to their verdicts; nil when nothing is asked.
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
        let services = configuration.services
        let hasChanged = publisher.takeOver(open) { event in
            services.first { $0.listeners.contains(event.service) }?.address
        }
        if hasChanged { saveOpenEventsSoon() }
    }

    /// Has open events saved soon: once for all that is told at a time.
    private func saveOpenEventsSoon() {
        guard running != nil, publisher.noteUnsaved() else { return }
        Task { writeWhatOutlivesDaemon() }
    }

    /// Writes what has not been written yet.
    public func writeWhatOutlivesDaemon() {
        saveDamping()
        guard let open = publisher.takeUnsaved() else { return }
        do { try openEventsFile.write(open) } catch { logger.error("\(error)") }
    }

    // MARK: Who follows

    /// The filter that an operator types; nil is any. A service may be called by any of its listeners.
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

/// The log and events tell what has changed in the health of services.
extension Director {
    /// Every change of a service's health comes through here, once the data plane has followed it.
    func logAndPublish(_ transition: HealthTransition, of service: ServiceAddress) {
        guard let state = health[service] else { return }
        publish(transition, of: service)
        let left = "\(state.numberUp) of \(state.servers.count) left"
        switch transition {
        case .serverUp(let server):
            publisher.noteUp(of: service)
            logger.notice("real server \(server) of \(service) is up; \(left)")
        case .serverDown(let server, let reason):
            logger.warning("real server \(server) of \(service) is down: \(reason ?? "no reason known"); \(left)")
            if publisher.noteDown(of: service, numberUp: state.numberUp) {
                let end = state.isReplaced ? "" : ": clients get ICMP port unreachable"
                logger.critical("no real server is left for \(service)\(end)")
            }
        case .serverUnproven(let server, let reason):
            logger.warning(
                "real server \(server) of \(service) serves unproven, and does not count toward the quorum: \(reason ?? "no reason known"); no real server has answered yet"
            )
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
}
