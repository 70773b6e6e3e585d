internal import DataPlane
internal import LoadBalancing
internal import ServiceConfiguration

/// What a reload has changed, in a line.
enum ReloadSummary {
    static func text(from old: DirectorConfiguration, to new: DirectorConfiguration) -> String {
        if old == new { return "nothing changed" }
        let services = (Set(old.services.map(\.address)), Set(new.services.map(\.address)))
        let servers = (members(of: old), members(of: new))
        let counts = [
            (services.1.subtracting(services.0).count, "services added"),
            (services.0.subtracting(services.1).count, "services removed"),
            (servers.1.subtracting(servers.0).count, "real servers added"),
            (servers.0.subtracting(servers.1).count, "real servers removed"),
        ]
        let changes = counts.filter { $0.0 > 0 }.map { "\($0.1): \($0.0)" }
        let isOtherwise = changes.isEmpty || hasOtherSettings(old, new)
        return (changes + (isOtherwise ? ["settings changed"] : [])).joined(separator: ", ")
    }

    private static func members(of configuration: DirectorConfiguration) -> Set<ServiceMember> {
        Set(
            configuration.services.flatMap { service in
                service.servers.map { ServiceMember(service: service.address, server: $0.address) }
            })
    }

    /// Whether the director, a service that stays or a real server that stays in one is set otherwise.
    private static func hasOtherSettings(_ old: DirectorConfiguration, _ new: DirectorConfiguration) -> Bool {
        var (former, present) = (old, new)
        (former.services, present.services) = ([], [])
        if former != present { return true }
        let services = Dictionary(old.services.map { ($0.address, $0) }, uniquingKeysWith: { one, _ in one })
        return new.services.contains { service in
            guard var before = services[service.address] else { return false }
            var after = service
            let staying = Set(before.servers.map(\.address)).intersection(after.servers.map(\.address))
            before.forwarding.servers.removeAll { !staying.contains($0.address) }
            after.forwarding.servers.removeAll { !staying.contains($0.address) }
            return before != after
        }
    }
}
