internal import Addresses
internal import FoundationEssentials
public import HostState
internal import LoadBalancing
internal import ServiceConfiguration

/// The stored drains while no director runs. The next start applies changes of them. A caller that changes the drains
/// has to hold the instance's lock.
public struct StoredDrains {
    private let file: OverridesFile

    public init(_ instance: InstancePaths) { file = OverridesFile(path: instance.overrides) }

    public var path: String { file.path }

    /// Returns a line for each drain, with real server, service and time.
    public func lines() throws -> [(server: String, text: String)] {
        try file.read().drains.map { drain in
            let place = drain.service.map { " in \($0)" } ?? ""
            return (
                drain.server.description, "\(drain.server) is drained\(place) since \(drain.since.formatted(.iso8601))"
            )
        }
    }

    public func undrain(_ request: DrainRequest) throws -> DrainReport {
        let (server, service) = (try request.address(), try request.listener())
        var wanted = try unchanged { try file.read() }
        let known = wanted.drains.filter { $0.server == server }
        let changed = wanted.undrain(
            server, service: service.map { VirtualService(address: $0, scheduler: .wlc, servers: []) })
        if let service, !known.isEmpty, !changed || known.contains(where: { $0.service == nil }) {
            let places = known.map { $0.service.map { "--service \($0)" } ?? "without --service" }
            throw DirectorError(
                .badValue,
                "undrain \(server): it is not drained in \(service) alone (accepted: \(places.joined(separator: ", ")))"
            )
        }
        if changed { try unchanged { try file.write(wanted) } }
        return DrainReport(server: server.description, changed: changed, isInForce: false, services: [])
    }

    private func unchanged<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch { throw DirectorError(.kernel, "nothing has changed: \(error)") }
    }
}
