internal import Addresses
internal import FoundationEssentials
internal import HealthChecks
internal import LoadBalancing

/// The record of published events, which decides whether a further event is published. The publisher has no clock and
/// no I/O. The caller passes the time, and gives events to followers and scripts.
struct EventPublisher {
    /// The common subject of two opposite events, such as server-up and server-down.
    struct Aspect: Hashable {
        enum Kind { case health, drain, service, quorum, sorryServer }

        var kind: Kind
        var service: ServiceAddress
        var server: IPAddress?
    }

    /// The time of the daemon's start.
    let started: Date
    /// The published events that have no end yet.
    private(set) var open = OpenEvents()
    private var hasUnsavedOpenEvents = false
    /// The time of each aspect's last event.
    private var lastPublished: [Aspect: Date] = [:]
    /// The services that have no real server for new connections, as last published.
    private var unserved: Set<ServiceAddress> = []
    /// The services for which "no real server is left" was logged.
    private var emptied: Set<ServiceAddress> = []
    /// The services whose state at their start has been published, or is scheduled to be.
    private var begun: Set<ServiceAddress> = []

    init(started: Date) { self.started = started }

    // MARK: Events

    /// Returns the event with the start of the former state. `since` is the time of that start, or nil if only the last
    /// event shows it.
    mutating func dated(_ event: DirectorEvent, since: Date?) -> DirectorEvent {
        guard let aspect = event.kind.aspect else { return event }
        let key = Aspect(kind: aspect, service: event.service, server: event.server)
        let former = lastPublished.updateValue(event.time, forKey: key)
        var event = event
        event.since = since ?? former ?? started
        return event
    }

    /// Returns whether an event of this kind's aspect has been published since the start. False for kinds that have no
    /// opposite.
    func hasPublished(_ kind: DirectorEvent.Kind, of service: ServiceAddress, server: IPAddress?) -> Bool {
        kind.aspect.map { lastPublished[Aspect(kind: $0, service: service, server: server)] != nil } ?? false
    }

    /// Returns service-down or service-up by the service's usable weight, or nil where the last published state still
    /// holds.
    mutating func serving(_ service: ServiceAddress, usableWeight: Int) -> DirectorEvent.Kind? {
        if usableWeight == 0 { return unserved.insert(service).inserted ? .serviceDown : nil }
        return unserved.remove(service) != nil ? .serviceUp : nil
    }

    /// Returns whether to log that no real server is left. If many real servers fall at the same time, only the first
    /// call returns true.
    mutating func noteDown(of service: ServiceAddress, numberUp: Int) -> Bool {
        guard numberUp == 0 else {
            emptied.remove(service)
            return false
        }
        return emptied.insert(service).inserted
    }

    mutating func noteUp(of service: ServiceAddress) { emptied.remove(service) }

    /// Notes the start of a service. Returns false where the start was noted before.
    mutating func begins(_ service: ServiceAddress) -> Bool { begun.insert(service).inserted }

    /// Forgets the events of services and real servers that are no longer configured. Returns whether open events have
    /// changed.
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

    /// Adopts the events that the last daemon left open. `address` returns the present address of an event's service,
    /// or nil when the service is gone. Returns whether the open events have changed by that.
    mutating func takeOver(_ open: OpenEvents, address: (DirectorEvent) -> ServiceAddress?) -> Bool {
        self.open = open
        return keepOpen(address)
    }

    /// Notes a published event. Returns whether open events have changed.
    mutating func note(_ event: DirectorEvent) -> Bool { open.record(event) }

    private mutating func keepOpen(_ address: (DirectorEvent) -> ServiceAddress?) -> Bool {
        open.keep(address)
    }

    /// Notes that open events have to be saved. Returns whether the caller has to schedule the write. False if a write
    /// is scheduled already.
    mutating func noteUnsaved() -> Bool {
        defer { hasUnsavedOpenEvents = true }
        return !hasUnsavedOpenEvents
    }

    /// Returns the open events to save, or nil when nothing has changed.
    mutating func takeUnsaved() -> OpenEvents? {
        guard hasUnsavedOpenEvents else { return nil }
        hasUnsavedOpenEvents = false
        return open
    }
}

extension DirectorEvent.Kind {
    /// The aspect of an event, or nil where the kind has no opposite.
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
