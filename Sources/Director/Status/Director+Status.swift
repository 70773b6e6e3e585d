internal import BPF
public import DataPlane
internal import FoundationEssentials
internal import Glibc
internal import HealthChecks
public import HostState
internal import LoadBalancing
internal import Netlink
internal import ServiceConfiguration

/// What `ipvsd status` shows.
extension Director {
    /// Nil until started.
    public func status() async throws -> DirectorStatus? {
        // What is told is what clients get.
        if running?.isForwarding == true, !unsettled.isEmpty || !untold.isEmpty {
            await sweepForThoseThatComeBack()
            settle()
        }
        return try describe()
    }

    /// As it is now. Nil until started.
    func describe() throws -> DirectorStatus? {
        guard let running, running.isForwarding else { return nil }
        let now = ContinuousClock.now
        var status = DirectorStatus(
            snapshot: try running.dataPlane.snapshot(), pid: getpid(),
            xdp: try Self.xdp(running.ingress.devices.map(\.index)))
        status.strays = try Self.strays(running.dataPlane.strayPackets())
        let byListener = Dictionary(
            configuration.services.flatMap { service in service.listeners.map { ($0, service) } },
            uniquingKeysWith: { one, _ in one })
        for serviceIndex in status.services.indices {
            let service = status.services[serviceIndex]
            guard let configured = service.listeners.lazy.compactMap({ byListener[$0.address] }).first else { continue }
            let address = configured.address
            status.services[serviceIndex].listeners = configured.listeners.map(DirectorStatus.Listener.init)
            // In the order of the configuration.
            let policy = configuration.policy(of: address)
            let inOrder = configured.servers.map(\.address) + [policy.sorryServer].compactMap(\.self)
            let order = Dictionary(zip(inOrder, inOrder.indices), uniquingKeysWith: { one, _ in one })
            status.services[serviceIndex].servers.sort {
                order[$0.address, default: .max] < order[$1.address, default: .max]
            }
            for index in service.servers.indices {
                let server = status.services[serviceIndex].servers[index]
                status.services[serviceIndex].servers[index] = described(server, of: address, at: now)
            }
            status.services[serviceIndex].tell(overrides, of: configured)
            if let state = states[address] {
                status.services[serviceIndex].quorum = DirectorStatus.Quorum(state)
            }
        }
        return status
    }

    /// With what the maps do not know.
    private func described(
        _ server: DirectorStatus.Server, of service: ServiceAddress, at now: ContinuousClock.Instant
    ) -> DirectorStatus.Server {
        guard server.health != .removed, let state = states[service] else { return server }
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
        server.reason = known.reason ?? reasonNotAsked(Target(service: service, server: server.address))
        server.health = !known.condition.isUp ? .down : verdict.isProven ? .up : .unproven
        server.effectiveWeight = state.effectiveWeight(of: server.address)?.shown
        server.heldUntil = date(known.heldUntil)
        server.wholeShareAt = date(state.wholeShare(of: server.address))
        return server
    }

    /// Where the director itself cannot ask: what is known of the server is old.
    private func reasonNotAsked(_ target: Target) -> String? {
        rounds.ids(of: target).lazy.compactMap { self.notAsked[$0] }.first
    }

    /// What the pinned maps and the file of overrides say, without a daemon; nil where there is no data plane.
    /// `problem`: why it does not tell who is drained.
    public static func pinnedStatus(
        instance: InstancePaths
    ) throws -> (status: DirectorStatus, problem: String?)? {
        silenceLibbpf()
        guard let directory = instance.existingBPFDirectory(),
            let maps = try DirectorMaps(directory: directory, writable: false)
        else { return nil }
        let interfaces = try RouteSocket().links().map(\.index).filter {
            (try? BPFLink(pinnedAt: XDPDataPlane.linkPin(directory: directory, interface: $0))) != nil
        }
        let snapshot = try DataPlaneSnapshot(of: maps, now: XDPDataPlane.tick(below: directory) ?? 0)
        var status = DirectorStatus(snapshot: snapshot, pid: nil, xdp: try xdp(interfaces))
        status.strays = try strays(maps.strayPackets())
        do {
            let overrides = try OverridesFile(path: instance.overrides).read()
            for (index, service) in snapshot.services.enumerated() {
                status.services[index].tell(overrides, of: service.configured)
            }
            return (status, nil)
        } catch {
            return (status, "\(error)")
        }
    }

    /// The flow table, with or without a daemon; nil where there is no data plane.
    public static func flows(instance: InstancePaths) throws -> FlowScan? {
        silenceLibbpf()
        return try instance.existingBPFDirectory().flatMap { try FlowScan(directory: $0) }
    }

    private static func strays(_ packets: [StrayPlace: StrayPackets]) throws -> [DirectorStatus.Stray] {
        let socket = try RouteSocket()
        return try packets.sorted { ($0.key.interface, $0.key.vip) < ($1.key.interface, $1.key.vip) }
            .compactMap { place, packets in
                try socket.link(index: place.interface).map { link in
                    let last = Date(timeIntervalSinceNow: -(packets.age / .seconds(1)))
                    return DirectorStatus.Stray(
                        interface: link.name, vip: place.vip, packets: packets.count, last: last.formatted(.iso8601))
                }
            }
    }

    static func xdp(_ interfaces: [Int32]) throws -> DirectorStatus.XDP {
        let socket = try RouteSocket()
        // One that goes just now is not listed, and the others are.
        let links = interfaces.compactMap { try? socket.link(index: $0) }
        return DirectorStatus.XDP(
            mode: interfaces.lazy.compactMap { (try? XDPAttachment.of(interface: $0))?.mode.rawValue }.first,
            interfaces: links.map(\.name),
            transmitErrors: Dictionary(
                links.map { ($0.name, $0.transmitErrors + $0.transmitDropped) }, uniquingKeysWith: { one, _ in one }))
    }
}

extension DirectorStatus.Service {
    /// Who is drained, in the service as the overrides know it.
    fileprivate mutating func tell(_ overrides: Overrides, of service: VirtualService) {
        for index in servers.indices {
            servers[index].drained =
                overrides.drain(of: servers[index].address, in: service)?.since.formatted(.iso8601)
        }
    }
}
