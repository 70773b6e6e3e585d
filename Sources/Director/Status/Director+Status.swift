internal import DataPlane
internal import FoundationEssentials
internal import Glibc
internal import HealthChecks
public import HostState
internal import LoadBalancing
internal import Netlink
internal import ServiceConfiguration

/// What `ipvsd status` shows.
extension Director {
    /// Returns nil until the director has started.
    public func status() async throws -> DirectorStatus? {
        // The status says what clients get.
        if running?.isForwarding == true { await hurryPending() }
        return try describe()
    }

    /// Describes the director as it is now. Returns nil until it has started.
    func describe() throws -> DirectorStatus? {
        guard let running, running.isForwarding else { return nil }
        let now = clock.now
        var status = DirectorStatus(
            snapshot: try running.dataPlane.snapshot(), pid: getpid(),
            interfaces: try running.dataPlane.interfaceReport())
        status.strays = try Self.strays(running.dataPlane.strayPackets(), network)
        let byListener = configuration.servicesByListener
        for serviceIndex in status.services.indices {
            let service = status.services[serviceIndex]
            guard let configured = service.listeners.lazy.compactMap({ byListener[$0.address] }).first else { continue }
            let address = configured.address
            status.services[serviceIndex].listeners = configured.listeners.map(DirectorStatus.Listener.init)
            // In the order of the configuration.
            let inOrder = configured.servers.map(\.address) + [configured.policy.sorryServer].compactMap(\.self)
            let order = Dictionary(zip(inOrder, inOrder.indices), uniquingKeysWith: { one, _ in one })
            status.services[serviceIndex].servers.sort {
                order[$0.address, default: .max] < order[$1.address, default: .max]
            }
            for index in service.servers.indices {
                let server = status.services[serviceIndex].servers[index]
                status.services[serviceIndex].servers[index] = described(server, of: address, at: now)
            }
            status.services[serviceIndex].tell(maintenance.overrides, of: configured.forwarding)
            if let state = health[address] {
                status.services[serviceIndex].quorum = DirectorStatus.Quorum(state)
            }
        }
        return status
    }

    /// Adds what the data plane does not know of the server.
    private func described(
        _ server: DirectorStatus.Server, of service: ServiceAddress, at now: ContinuousClock.Instant
    ) -> DirectorStatus.Server {
        guard server.health != .removed, let state = health[service] else { return server }
        var server = server
        if server.address == state.policy.sorryServer {
            server.isSorryServer = true
            server.health = .unproven
            server.effectiveWeight = EffectiveWeight.sorryServer(serves: state.isReplaced).shown
            return server
        }
        guard let known = state.servers[server.address] else { return server }
        func date(_ instant: ContinuousClock.Instant?) -> String? {
            instant.map { Date(timeIntervalSinceNow: (($0 - now) / .seconds(1))).formatted(.iso8601) }
        }
        let verdict = state.health.verdict(of: server.address)
        server.since = date(known.since)
        let member = ServiceMember(service: service, server: server.address)
        server.reason = known.reason ?? health.reasonNotAsked(member)
        server.health = !known.condition.isUp ? .down : verdict.isProven ? .up : .unproven
        server.effectiveWeight = state.effectiveWeight(of: server.address)?.shown
        server.heldUntil = date(known.heldUntil)
        server.wholeShareAt = date(state.wholeShare(of: server.address))
        return server
    }

    /// What the stored data plane and the file of overrides say, without a daemon; nil where there is no data plane.
    /// `problem`: why it does not tell who is drained.
    public static func storedStatus(
        instance: InstancePaths, dataPlanes: any DataPlaneProvider
    ) throws -> (status: DirectorStatus, problem: String?)? {
        guard let stored = try dataPlanes.stored(instance) else { return nil }
        var status = DirectorStatus(snapshot: stored.snapshot, pid: nil, interfaces: stored.interfaces)
        status.strays = try strays(stored.strays, KernelNetwork())
        do {
            let overrides = try OverridesFile(path: instance.overrides).read()
            for (index, service) in stored.snapshot.services.enumerated() {
                status.services[index].tell(overrides, of: service.configured)
            }
            return (status, nil)
        } catch {
            return (status, "\(error)")
        }
    }

    private static func strays(
        _ packets: [StrayPlace: StrayPackets], _ network: any Network
    ) throws -> [DirectorStatus.Stray] {
        try packets.sorted { ($0.key.interface, $0.key.vip) < ($1.key.interface, $1.key.vip) }
            .compactMap { place, packets in
                try network.link(index: place.interface).map { link in
                    let last = Date(timeIntervalSinceNow: -(packets.age / .seconds(1)))
                    return DirectorStatus.Stray(
                        interface: link.name, vip: place.vip, packets: packets.count, last: last.formatted(.iso8601))
                }
            }
    }
}

extension DirectorStatus.Service {
    /// Says who is drained in the service, as the overrides know it.
    fileprivate mutating func tell(_ overrides: Overrides, of service: VirtualService) {
        for index in servers.indices {
            servers[index].drained =
                overrides.drain(of: servers[index].address, in: service)?.since.formatted(.iso8601)
        }
    }
}
