internal import Addresses
internal import FoundationEssentials
internal import HealthChecks
internal import LoadBalancing

/// Knows what has been told of services and real servers, and so what is news. It reads no clock and reaches nobody: the
/// caller says what time it is, and gives events to followers and programs.
struct EventPublisher {
    /// What two events are about that undo each other.
    struct Aspect: Hashable {
        enum Kind { case health, drain, service, quorum, sorryServer }

        var kind: Kind
        var service: ServiceAddress
        var server: IPAddress?
    }

    /// When the daemon started.
    let started: Date
    /// What services lack, as was told.
    private(set) var open = OpenEvents()
    private var hasUnsavedOpenEvents = false
    /// When each aspect was told last.
    private var lastPublished: [Aspect: Date] = [:]
    /// Services that have no real server for new connections, as was told.
    private var unserved: Set<ServiceAddress> = []
    /// Services of which the log said that no real server is left.
    private var emptied: Set<ServiceAddress> = []
    /// Services whose state at their start has been told, or is going to be.
    private var begun: Set<ServiceAddress> = []

    init(started: Date) { self.started = started }

    // MARK: Events

    /// Returns the event with the time since when it had been otherwise. `since`: that time, where it is known better than
    /// by what was told before.
    mutating func dated(_ event: DirectorEvent, since: Date?) -> DirectorEvent {
        guard let aspect = event.kind.aspect else { return event }
        let key = Aspect(kind: aspect, service: event.service, server: event.server)
        let former = lastPublished.updateValue(event.time, forKey: key)
        var event = event
        event.since = since ?? former ?? started
        return event
    }

    /// Returns whether something of this kind has been told since the start. An event that has no opposite has not.
    func hasPublished(_ kind: DirectorEvent.Kind, of service: ServiceAddress, server: IPAddress?) -> Bool {
        kind.aspect.map { lastPublished[Aspect(kind: $0, service: service, server: server)] != nil } ?? false
    }

    /// Returns what to tell of a service whose usable weight this is; nil when that is no news.
    mutating func serving(_ service: ServiceAddress, usableWeight: Int) -> DirectorEvent.Kind? {
        if usableWeight == 0 { return unserved.insert(service).inserted ? .serviceDown : nil }
        return unserved.remove(service) != nil ? .serviceUp : nil
    }

    /// Returns whether the log has to say that no real server is left: once, where many fall at a time.
    mutating func noteDown(of service: ServiceAddress, numberUp: Int) -> Bool {
        guard numberUp == 0 else {
            emptied.remove(service)
            return false
        }
        return emptied.insert(service).inserted
    }

    mutating func noteUp(of service: ServiceAddress) { emptied.remove(service) }

    /// Returns whether the service begins, and so how it is may have to be told.
    mutating func begins(_ service: ServiceAddress) -> Bool { begun.insert(service).inserted }

    /// Forgets what was told of services and real servers that are no longer configured. Returns whether open events
    /// have changed.
    mutating func keep(_ state: (ServiceAddress) -> ServiceState?) -> Bool {
        lastPublished = lastPublished.filter { aspect, _ in
            guard let state = state(aspect.service) else { return false }
            guard let server = aspect.server else { return true }
            return state.servers[server] != nil || state.policy.sorryServer == server
        }
        unserved = unserved.filter { state($0) != nil }
        begun = begun.filter { state($0) != nil }
        emptied = emptied.filter { state($0)?.numberUp == 0 }
        return keepOpen { state($0.service) == nil ? nil : $0.service }
    }

    // MARK: Events that outlive the daemon

    /// Takes the events that the last daemon left open. `address`: of the event's service now; nil when it is gone.
    /// Returns whether they have changed by that.
    mutating func takeOver(_ open: OpenEvents, address: (DirectorEvent) -> ServiceAddress?) -> Bool {
        self.open = open
        return keepOpen(address)
    }

    /// Takes note of an event that is told. Returns whether open events have changed.
    mutating func note(_ event: DirectorEvent) -> Bool { open.record(event) }

    private mutating func keepOpen(_ address: (DirectorEvent) -> ServiceAddress?) -> Bool {
        open.keep(address)
    }

    /// Notes that open events have to be saved. Returns whether the caller has to do so soon; false when somebody does
    /// already.
    mutating func noteUnsaved() -> Bool {
        defer { hasUnsavedOpenEvents = true }
        return !hasUnsavedOpenEvents
    }

    /// Returns the open events that are to be saved; nil when nothing has changed.
    mutating func takeUnsaved() -> OpenEvents? {
        guard hasUnsavedOpenEvents else { return nil }
        hasUnsavedOpenEvents = false
        return open
    }
}

extension DirectorEvent.Kind {
    /// Nil: what it tells has no opposite.
    fileprivate var aspect: EventPublisher.Aspect.Kind? {
        switch self {
        case .serverUp, .serverDown: .health
        case .serverDamped: nil
        case .serverDrained, .serverUndrained: .drain
        case .serviceDown, .serviceUp: .service
        case .quorumLost, .quorumRegained: .quorum
        case .sorryServerIn, .sorryServerOut: .sorryServer
        case .checkPathInDoubt, .restored: nil
        }
    }
}
