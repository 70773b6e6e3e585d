import Addresses
import DataPlane
import HealthChecks
import LoadBalancing
import Logging
import ServiceConfiguration
import Synchronization

@testable import Director
@testable import HostState
@testable import Netlink

/// A director that has started on a data plane and a network in memory, in which nothing happens by itself.
enum StillDirector {
    static let service = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp)
    static let server = IPAddress(0x0A00_000B)
    static let otherServer = IPAddress(0x0A00_000C)

    /// One service with two real servers that are not checked, of which it needs both.
    static var configuration: DirectorConfiguration {
        let servers = [server, otherServer].map { RealServer(address: $0) }
        return DirectorConfiguration(
            services: [
                ConfiguredService(
                    VirtualService(address: service, scheduler: .wlc, servers: servers),
                    checks: .policy(CheckPolicy(kind: .none)), policy: ServicePolicy(quorum: Quorum.Rule(required: 2)))
            ], managesAddress: false)
    }

    static func make(directory: String, isStarted: Bool = true) async throws -> Director {
        let director = Director(
            configuration: configuration, instance: InstancePaths(directory: directory),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            environment: DirectorEnvironment(
                dataPlanes: StillDataPlanes(plane: StillDataPlane()), network: StillNetwork(),
                checker: SilentChecker()))
        if isStarted { try await director.start() }
        return director
    }
}

/// A data plane that forwards nothing and gives back its services.
private final class StillDataPlane: DataPlane, Sendable {
    private let services = Mutex<[VirtualService]>([])

    func startForwarding() {}
    func completeStart() {}
    func prepare(for demand: DataPlaneDemand) {}
    func completeChange() {}

    func apply(_ services: [VirtualService]) { self.services.withLock { $0 = services } }

    func update(_ changed: [VirtualService]) {
        services.withLock { services in
            services = services.map { service in changed.first { $0.address == service.address } ?? service }
        }
    }

    func snapshot() -> DataPlaneSnapshot {
        let services = services.withLock(\.self).enumerated().map { index, service in
            DataPlaneSnapshot.Service(
                index: UInt32(index), configured: service,
                servers: service.servers.enumerated().map { id, server in
                    DataPlaneSnapshot.Server(
                        id: UInt32(id + 1), configured: server, effective: server.effective, isRemoved: false,
                        hasNextHop: true)
                })
        }
        return DataPlaneSnapshot(
            services: services, flood: .init(halfOpen: 0, limit: 0), flowTableSize: 1024, counterKinds: [],
            counters: [:])
    }

    func setLimits(_ limits: DataPlaneLimits) {}

    var serverAddresses: Set<IPAddress> { Set(services.withLock(\.self).flatMap { $0.servers.map(\.address) }) }
    func load(of member: ServiceMember) -> (active: UInt32, inactive: UInt32)? { (0, 0) }
    func unansweredSYNs(atLeast least: UInt32) -> [ServiceMember: UInt32] { [:] }
    func unansweredSYNs(of member: ServiceMember) -> UInt32 { 0 }
    func learntPorts() -> [ServiceAddress: [UInt16]] { [:] }
    func forgetLearntPorts(_ ports: Set<UInt16>, of service: ServiceAddress) {}
    func answeredPorts(of service: ServiceAddress) -> [IPAddress: Set<UInt16>] { [:] }
    func setAnsweredPorts(_ ports: Set<UInt16>, of member: ServiceMember) {}

    func route(to server: IPAddress) -> ServerRoute? { nil }
    func setRoute(_ route: ServerRoute?, by link: Link?, to server: IPAddress) -> String? { nil }
    func followRoutes() {}
    func mayHaveSent(_ flow: FlowEnds, to server: IPAddress) -> Bool { false }

    var interfaces: [Link] { [StillNetwork.link] }
    func describedInterfaces() -> [String] { ["lab0"] }
    func interfaceReport() -> InterfaceReport { InterfaceReport(mode: "memory", names: ["lab0"], transmitErrors: [:]) }
    func followInterfaces() -> [Link] { [] }
    func rejoinInterfaces() -> Bool { false }
    func otherInterfaces(for vip: IPAddress) -> [String]? { nil }
    var refuge: Link? { nil }
    func strayPackets() -> [StrayPlace: StrayPackets] { [:] }

    func checkSocket(for member: ServiceMember) -> CheckSocket? { nil }
    func checkTraffic(of member: ServiceMember, by transport: CheckTransport, begins: Bool) -> CheckTraffic? { nil }
    func isCheckPathWhole() async -> Bool { true }
    func repairCheckPath() -> Repairs { Repairs() }

    func repair() -> [Repairs] { [] }
    func repairStored() -> Repairs { Repairs() }
    func sweep(for time: Duration) {}
    func isSwept(since start: ContinuousClock.Instant) -> Bool { true }
    func mayHoldAbandoned(_ member: ServiceMember, until end: ContinuousClock.Instant) -> Bool { false }
    var tableUse: [(name: String, size: Int, used: Int)] { [] }
}

private struct StillDataPlanes: DataPlaneProvider {
    let plane: StillDataPlane

    func preflight(_: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths) {}
    func open(
        _: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths, journal: ChangeJournal,
        logger: Logger
    ) -> any DataPlane { plane }
    func leftovers(_: InstancePaths, besides: [Change]) -> [Change] { [] }
    func isPresent(_: InstancePaths) -> Bool { false }
    func stored(_: InstancePaths) -> StoredDataPlane? { nil }
    func removeEmptyPlaces(_: InstancePaths) {}
}

/// A network of one interface with all real servers on its link.
private struct StillNetwork: Network {
    static let link = Link(
        index: 7, name: "lab0", kind: nil, mtu: 1500, isUp: true, hasCarrier: true, isLoopback: false,
        hardwareType: 1, address: MACAddress([2, 0, 0, 0, 0, 7]), master: nil, lower: nil, tag: nil,
        filtersVLANs: false, noARP: false, transmitErrors: 0, transmitDropped: 0)
    private static let own = IPAddress(0x0A00_0002)

    func requirePrivilege() {}
    func links() -> [Link] { [Self.link] }
    func link(index: Int32) -> Link? { Self.link }
    func addresses() -> [InterfaceAddress] { [InterfaceAddress(interface: 7, address: Self.own, prefixLength: 24)] }
    func addAddress(_ address: IPAddress, on interface: Int32, scope: UInt8) {}
    func removeAddress(_ address: IPAddress, from interface: Int32) {}

    func route(to destination: IPAddress) -> ResolvedRoute? {
        ResolvedRoute(interface: 7, gateway: nil, source: Self.own, mtu: nil, isMTULearnt: false, isLocal: false)
    }

    func routeMTU(to destination: IPAddress) -> UInt32? { nil }

    func neighbour(_ address: IPAddress, on interface: Int32) -> Neighbour? {
        // NUD_REACHABLE
        Neighbour(
            interface: interface, address: address, linkAddress: MACAddress([2, 0] + address.bytes), state: 0x02,
            isManaged: true)
    }

    func manageNeighbour(_ address: IPAddress, on interface: Int32) {}
    func checksumErrors() -> UInt64? { nil }
    func parameter(_ key: String) -> String? { nil }
    func announce(_ addresses: [IPv4Address], on link: Link) -> (sent: Int, error: String?) { (addresses.count, nil) }
    func requestNeighbour(_ address: IPAddress, from source: IPAddress, on link: Link) {}
    func changes(of kinds: Set<RouteMonitor.Kind>) -> AsyncStream<Void> { AsyncStream { _ in } }
    func routerErrors() -> AsyncStream<FragmentationNeeded> { AsyncStream { _ in } }
}

/// A checker that is not needed, as no real server is checked.
private struct SilentChecker: HealthChecker {
    func ask(_ questions: [Checker.Question], answersTo inbox: Checker.Inbox) {}
    func ask(_ question: Checker.Question) async -> Checker.Answer {
        Checker.Answer(
            id: question.id, way: question.way, verdict: .passed(.init(latency: .zero)), latency: .zero)
    }
    func cancel(_ ids: Set<UInt64>, answersTo inbox: Checker.Inbox) {}
}
