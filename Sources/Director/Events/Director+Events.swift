internal import Addresses
internal import DataPlane
internal import FoundationEssentials
internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// The publication of events: to followers, and to the service's notification script.
extension Director {
    /// Publishes the events of a transition. Returns whether service-down is one of them.
    private func publish(_ transition: HealthTransition, of service: ServiceAddress) -> Bool {
        switch transition {
        case .serverUp(let server): publish(.serverUp, of: service, server: server)
        case .serverDown(let server, let reason): publish(.serverDown, of: service, server: server, reason: reason)
        case .serverHeld(let server, let time):
            publish(.serverDamped, of: service, server: server, reason: Self.reasonOfHold(time))
        case .weight, .serverUnproven: break
        case .quorumLost: publish(.quorumLost, of: service)
        case .quorumRegained: publish(.quorumRegained, of: service)
        case .sorryServer(let server, let serves):
            publish(serves ? .sorryServerIn : .sorryServerOut, of: service, server: server)
        }
        return publishServiceState(service) == .serviceDown
    }

    /// Publishes an event of a service or of one of its real servers. `since` is the start of the former state, where
    /// that is known better than from the last event. `isStart` says that the event describes a state at the start, not
    /// a change.
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

    /// Publishes an event where a service has lost its last real server that gets new connections, or has such a server
    /// again. Returns the event's kind, or nil where there is no event.
    @discardableResult
    func publishServiceState(_ service: ServiceAddress) -> DirectorEvent.Kind? {
        guard let state = health[service],
            let kind = publisher.serving(service, usableWeight: state.usableWeight)
        else { return nil }
        publish(kind, of: service)
        return kind
    }

    func standing(of service: ServiceAddress) -> DirectorEvent.Standing {
        guard let state = health[service] else { return .init(up: 0, total: 0, weight: 0, quorum: 0) }
        return .init(
            up: state.usableCount, total: state.servers.count, weight: state.usableWeight,
            quorum: state.quorum.rule.required)
    }

    /// Forgets the events of services and real servers that are no longer configured.
    func forgetRemovedServices() {
        let known = health
        if publisher.keep({ known[$0] }) { saveOpenEventsSoon() }
    }

    // MARK: Starts of services

    /// Publishes each lack of a service at the daemon's start, even if the last daemon had published it. If a lack that
    /// the last daemon published is over, the ending event is published after the first verdicts.
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

    /// Publishes the state of services that begin, for scripts that want it: at the daemon's start, and with a reload
    /// that adds services.
    func publishStarts() {
        for service in configuration.services
        where service.notification?.tellsAtStart == true && publisher.begins(service.address) {
            afterFirstVerdict(of: service.address) { [address = service.address] in $0.publishStart(of: address) }
        }
    }

    /// Publishes the present state of a service, except what has been published since the start.
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

    /// Calls `body` after the first checks of the service, or at once where the service has no checks. Before the first
    /// checks, its real servers count as up without proof.
    private func afterFirstVerdict(
        of service: ServiceAddress, _ body: @escaping @Sendable (isolated Director) -> Void
    ) {
        guard let time = firstVerdict(of: service) else { return body(self) }
        Task {
            try await clock.sleep(for: time)
            body(self)
        }
    }

    /// Publishes the end of each of these events that is still open. An event that this daemon has published again has
    /// another time, and stays open.
    private func publishEnds(of events: [DirectorEvent]) {
        for event in events where publisher.open.events.contains(event) {
            guard let end = event.kind.end else { continue }
            publish(end, of: event.service, server: event.server, since: event.time)
        }
    }

    /// Returns the time until the checks that begin now have verdicts, or nil when the service has no checks.
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

    // MARK: Open events across daemons

    private var openEventsFile: OpenEventsFile { OpenEventsFile(path: instance.openEvents) }

    private func takeOverOpenEvents() {
        let (open, problem) = openEventsFile.read()
        if let problem { logger.error("\(problem)", metadata: ["path": "\(openEventsFile.path)"]) }
        let services = configuration.services
        let hasChanged = publisher.takeOver(open) { event in
            services.first { $0.listeners.contains(event.service) }?.address
        }
        if hasChanged { saveOpenEventsSoon() }
    }

    /// Schedules one write of the open events for all events that are published at the same time.
    private func saveOpenEventsSoon() {
        guard running != nil, publisher.noteUnsaved() else { return }
        Task { writeWhatOutlivesDaemon() }
    }

    /// Writes damping and open events where they have changed since the last write.
    public func writeWhatOutlivesDaemon() {
        saveDamping()
        guard let open = publisher.takeUnsaved() else { return }
        do { try openEventsFile.write(open) } catch {
            logger.error("\(error)", metadata: ["path": "\(openEventsFile.path)", "error": "\(error)"])
        }
    }

    // MARK: Followers

    /// Returns the filter for a service and a real server as an operator types them, where nil means any. A service may
    /// be typed as any of its listeners. Throws where the service or real server is neither configured nor in a kept
    /// event.
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
            let known = configuration.services.first { $0.listeners.contains(listener) }?.address
            filter.service = known ?? listener
            guard known != nil || hasEvents(filter) else {
                throw DirectorError(
                    .badValue,
                    "\(listener) is no service here (accepted: "
                        + "\(configuration.services.map(\.address.description).listed))")
            }
        }
        if let server {
            let address = try valid("server \(server)") { () throws(InvalidValue) in try AddressText.address(server) }
            guard configuration.serverAddresses.contains(address) || hasEvents(EventRing.Filter(server: address)) else {
                throw DirectorError(
                    .badValue,
                    "\(address) is no real server here (accepted: "
                        + "\(configuration.serverAddresses.sorted().map(\.description).listed))")
            }
            filter.server = address
        }
        return filter
    }

    private func hasEvents(_ filter: EventRing.Filter) -> Bool { !events.read(after: 0, filter: filter).events.isEmpty }
}

/// The log lines and events of changes of health.
extension Director {
    /// Logs and publishes a change of a service's health, after the update of the data plane.
    func logAndPublish(_ transition: HealthTransition, of service: ServiceAddress) {
        guard let state = health[service] else { return }
        let isServiceDown = publish(transition, of: service)
        let left = "\(state.numberUp) of \(state.servers.count) left"
        let standing = standing(of: service)
        /// Returns the fields of a log line, under the names of an event's keys. `event` is nil where no event is
        /// published.
        func fields(
            _ event: DirectorEvent.Kind?, _ server: IPAddress? = nil, reason: String? = nil
        ) -> Logger.Metadata {
            var fields: Logger.Metadata = [
                "service": "\(service)", "up": "\(standing.up)", "total": "\(standing.total)",
                "weight": "\(standing.weight)", "quorum": "\(standing.quorum)",
            ]
            fields["event"] = event.map { "\($0.rawValue)" }
            fields["server"] = server.map { "\($0)" }
            fields["reason"] = reason.map { "\($0)" }
            return fields
        }
        switch transition {
        case .serverUp(let server):
            publisher.noteUp(of: service)
            logger.notice("real server \(server) of \(service) is up; \(left)", metadata: fields(.serverUp, server))
        case .serverDown(let server, let reason):
            logger.warning(
                "real server \(server) of \(service) is down: \(reason ?? "no reason known"); \(left)",
                metadata: fields(.serverDown, server, reason: reason))
            if publisher.noteDown(of: service, numberUp: state.numberUp) {
                let end = state.isReplaced ? "" : ": clients get ICMP port unreachable"
                logger.critical(
                    "no real server is left for \(service)\(end)", metadata: fields(isServiceDown ? .serviceDown : nil))
            }
        case .serverUnproven(let server, let reason):
            logger.warning(
                "real server \(server) of \(service) serves unproven, and does not count toward the quorum: \(reason ?? "no reason known"); no real server has answered yet",
                metadata: fields(nil, server, reason: reason))
        case .serverHeld(let server, let time):
            logger.warning(
                "real server \(server) of \(service) passes its checks again, but fell too often: held out for \(Self.rounded(time)), if it stays good; \(left)",
                metadata: fields(.serverDamped, server, reason: Self.reasonOfHold(time)))
        case .weight(let server, let weight, let before):
            logger.notice(
                "real server \(server) of \(service) has weight \(weight) by its checks, \(before) before",
                metadata: [
                    "service": "\(service)", "server": "\(server)", "server-weight": "\(weight)",
                    "former-server-weight": "\(before)",
                ])
        case .quorumLost(let weight):
            let rule = state.quorum.rule
            // A service that begins has to reach the upper bound first.
            let bound = weight < rule.lostBelow ? rule.lostBelow : rule.regainedAt
            logger.warning(
                "\(service) lost its quorum: the weight of usable real servers is \(weight), below \(bound)",
                metadata: fields(.quorumLost))
        case .quorumRegained(let weight):
            logger.notice(
                "\(service) has its quorum again: the weight of usable real servers is \(weight)",
                metadata: fields(.quorumRegained))
        case .sorryServer(let server, serves: true):
            logger.warning(
                "sorry server \(server) of \(service) serves new connections", metadata: fields(.sorryServerIn, server))
        case .sorryServer(let server, serves: false):
            logger.notice(
                "sorry server \(server) of \(service) serves no new connections any more",
                metadata: fields(.sorryServerOut, server))
        }
    }

    private static func reasonOfHold(_ time: Duration) -> String { "held out for \(rounded(time))" }

    static func rounded(_ time: Duration) -> String {
        DurationText.format(.seconds(max(1, Int((time / .seconds(1)).rounded()))))
    }
}
