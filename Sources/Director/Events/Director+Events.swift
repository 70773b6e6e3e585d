internal import FoundationEssentials
internal import LoadBalancing
internal import ServiceConfiguration

/// What happens is told: to whoever follows, and to the service's script.
extension Director {
    func tell(
        _ kind: DirectorEvent.Kind, of service: VirtualService, server: IPv4Address? = nil, reason: String? = nil,
        since: Date? = nil
    ) {
        let event = events.append(
            DirectorEvent(
                kind: kind, service: service.address, server: server, reason: reason, since: since,
                standing: standing(of: service)))
        if let script = configuration.notifications[service.address] { notifier.tell(event, to: script) }
    }
}

extension Director {
    /// Of what an operator types; nil is any. A service may be called by any of its listeners.
    public func eventFilter(service: String?, server: String?) throws -> EventRing.Filter {
        var filter = EventRing.Filter()
        do {
            if let service {
                let listener = try AddressText.service(service)
                filter.service = configuration.services.first { $0.listeners.contains(listener) }?.address ?? listener
            }
            if let server { filter.server = try AddressText.address(server) }
        } catch { throw DirectorError(.badValue, "\(service ?? server ?? ""): \(error)") }
        return filter
    }
}
