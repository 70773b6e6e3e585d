import Addresses
import DataPlane
import Foundation
import HostState
import LoadBalancing
import Logging
import Netlink
import ServiceConfiguration
import Synchronization

@testable import Director

/// A data plane in memory that forwards nothing. It outlives directors, as the kernel's does.
final class MemoryDataPlane: DataPlane, Sendable {
    struct Refusal: Error, CustomStringConvertible { let description = "no room" }

    private struct State {
        var services: [VirtualService] = []
        var ids: [ServiceMember: UInt32] = [:]
        var routes: [IPAddress: ServerRoute] = [:]
        var limits: DataPlaneLimits?
        var isForwarding = false
        var link = MemoryNetwork.link
        var refusals = 0
        /// The files that a start creates in place of pins.
        var pins: [String] = []
        /// The reasons why real servers have no path.
        var refusedRoutes: [IPAddress: String] = [:]
        var unrecorded = false
        /// Whether each look finds the check path missing.
        var lacksCheckPath = false
        var holdsLooks = false
        var looks = 0
        var updates = 0
        var swept: ContinuousClock.Instant?
        var abandoned: Set<ServiceMember> = []
        var filter: PacketFilter?
        var checkTraffic: [ServiceMember: CheckTraffic] = [:]
        var unanswered: [ServiceMember: UInt32] = [:]
        var active: [ServiceMember: UInt32] = [:]
        var learnt: [ServiceAddress: [UInt16]] = [:]
    }

    private let state = Mutex(State())
    private let network: MemoryNetwork
    private let clock: any DirectorClock

    init(network: MemoryNetwork, clock: any DirectorClock) {
        self.network = network
        self.clock = clock
    }

    // MARK: For tests

    /// Returns the real server's weight for new connections of the service, or nil if no table has the real server.
    func weight(_ server: IPAddress, of service: ServiceAddress) -> UInt16? {
        effective(server, of: service).flatMap { $0.standing == .listed ? $0.weight : nil }
    }

    /// Returns the tenths of its share that the real server has, or nil if no table has the real server.
    func tenths(_ server: IPAddress, of service: ServiceAddress) -> Int? {
        effective(server, of: service).flatMap { $0.standing == .listed ? $0.tenths : nil }
    }

    private func effective(_ server: IPAddress, of service: ServiceAddress) -> EffectiveWeight? {
        state.withLock { state in
            state.services.first { $0.address == service }?.servers.first { $0.address == server }?
                .effective
        }
    }

    var isForwarding: Bool { state.withLock(\.isForwarding) }

    /// Makes the next `count` applications or updates of services fail.
    func refuse(_ count: Int) { state.withLock { $0.refusals = count } }

    func setPins(_ paths: [String]) { state.withLock { $0.pins = paths } }

    /// Creates the pins of a start, and enters them in the journal.
    fileprivate func makePins(_ journal: ChangeJournal) throws {
        for path in state.withLock(\.pins) {
            try journal.make(.pin(path: path)) { try Data().write(to: URL(fileURLWithPath: path)) }
        }
    }

    /// Makes paths to these real servers fail for these reasons, and paths to all others succeed.
    func refuseRoutes(_ reasons: [IPAddress: String]) { state.withLock { $0.refusedRoutes = reasons } }

    /// Makes all flows count as unrecorded.
    func forgetFlows() { state.withLock { $0.unrecorded = true } }

    /// Sets whether each look finds the check path missing.
    func breakCheckPath(_ isBroken: Bool) { state.withLock { $0.lacksCheckPath = isBroken } }

    /// Sets whether looks at the check path wait, for 5 s at most.
    func holdLooks(_ areHeld: Bool) { state.withLock { $0.holdsLooks = areHeld } }

    /// The number of started looks at the check path.
    var looks: Int { state.withLock(\.looks) }

    /// The number of applications and updates of services.
    var updates: Int { state.withLock(\.updates) }

    func server(ofMark mark: UInt32) -> IPAddress? {
        state.withLock { state in state.ids.first { $0.value == mark }?.key.server }
    }

    /// Gives the real server abandoned half-open connections, until the next sweep.
    func abandonConnections(of member: ServiceMember) { state.withLock { _ = $0.abandoned.insert(member) } }

    func setUnansweredSYNs(_ count: UInt32, of member: ServiceMember) {
        state.withLock { $0.unanswered[member] = count }
    }

    /// Sets the ports of an any-port service that clients use.
    func setLearntPorts(_ ports: [UInt16], of service: ServiceAddress) {
        state.withLock { $0.learnt[service] = ports }
    }

    // MARK: Life

    func startForwarding() throws { state.withLock { $0.isForwarding = true } }
    func completeStart() throws {}
    func prepare(for demand: DataPlaneDemand) throws {}
    func completeChange() throws {}

    // MARK: Services

    private func permitChange(_ state: inout State) throws {
        if state.refusals > 0 {
            state.refusals -= 1
            throw Refusal()
        }
        state.updates += 1
    }

    func apply(_ services: [VirtualService]) throws {
        try state.withLock { state in
            try permitChange(&state)
            state.services = services
            number(services, &state)
        }
    }

    func update(_ services: [VirtualService]) throws {
        try state.withLock { state in
            var refusal: (any Error)?
            for service in services {
                do { try permitChange(&state) } catch {
                    refusal = refusal ?? error
                    continue
                }
                state.services.removeAll { $0.address == service.address }
                state.services.append(service)
                number([service], &state)
            }
            if let refusal { throw refusal }
        }
    }

    private func number(_ services: [VirtualService], _ state: inout State) {
        for service in services {
            for server in service.servers {
                let member = ServiceMember(service: service.address, server: server.address)
                if state.ids[member] == nil { state.ids[member] = UInt32(state.ids.count + 1) }
            }
        }
    }

    func snapshot() throws -> DataPlaneSnapshot {
        state.withLock { state in
            let services = state.services.enumerated().map { index, service in
                DataPlaneSnapshot.Service(
                    index: UInt32(index + 1), configured: service.asConfigured,
                    servers: service.servers.map { server in
                        let member = ServiceMember(service: service.address, server: server.address)
                        return DataPlaneSnapshot.Server(
                            id: state.ids[member] ?? 0, configured: server.asConfigured, effective: server.effective,
                            isRemoved: false, tenths: server.effective.tenths,
                            active: state.active[member] ?? 0,
                            hasNextHop: state.routes[server.address].map { $0.isLocal || $0.nextHopMAC != nil } ?? false
                        )
                    })
            }
            return DataPlaneSnapshot(
                services: services, flood: .init(halfOpen: 0, limit: 0), flowTableSize: 1024, counterKinds: [],
                counters: [:])
        }
    }

    func setLimits(_ limits: DataPlaneLimits) { state.withLock { $0.limits = limits } }

    // MARK: Real servers

    var serverAddresses: Set<IPAddress> { state.withLock { Set($0.ids.keys.map(\.server)) } }

    func load(of member: ServiceMember) -> (active: UInt32, inactive: UInt32)? {
        state.withLock { $0.ids[member] == nil ? nil : ($0.active[member] ?? 0, 0) }
    }

    func unansweredSYNs(atLeast least: UInt32) -> [ServiceMember: UInt32] {
        state.withLock { $0.unanswered.filter { $0.value >= least } }
    }

    func unansweredSYNs(of member: ServiceMember) -> UInt32 { state.withLock { $0.unanswered[member] ?? 0 } }

    func learntPorts() -> [ServiceAddress: [UInt16]] { state.withLock(\.learnt) }
    func forgetLearntPorts(_ ports: Set<UInt16>, of service: ServiceAddress) {}
    func answeredPorts(of service: ServiceAddress) -> [IPAddress: Set<UInt16>] { [:] }
    func setAnsweredPorts(_ ports: Set<UInt16>, of member: ServiceMember) {}

    // MARK: Next hops

    func route(to server: IPAddress) -> ServerRoute? { state.withLock { $0.routes[server] } }

    func setRoute(_ route: ServerRoute?, by link: Link?, to server: IPAddress) -> String? {
        state.withLock { state in
            let refusal = route == nil ? nil : state.refusedRoutes[server]
            state.routes[server] = refusal == nil ? route : nil
            return refusal
        }
    }

    func followRoutes() {}
    func mayHaveSent(_ flow: FlowEnds, to server: IPAddress) -> Bool { state.withLock { !$0.unrecorded } }

    // MARK: Interfaces

    var interfaces: [Link] { [state.withLock(\.link)] }
    func describedInterfaces() -> [String] { interfaces.map(\.name) }

    func interfaceReport() -> InterfaceReport {
        InterfaceReport(mode: "memory", names: interfaces.map(\.name), transmitErrors: [:])
    }

    func followInterfaces() -> [Link] {
        guard let now = network.link(index: MemoryNetwork.link.index) else { return [] }
        return state.withLock { state in
            defer { state.link = now }
            return now.hasCarrier && !state.link.hasCarrier ? [now] : []
        }
    }

    func rejoinInterfaces() -> Bool { false }
    func otherInterfaces(for vip: IPAddress) -> [String]? { nil }
    var refuge: Link? { nil }
    func strayPackets() -> [StrayPlace: StrayPackets] { [:] }

    // MARK: Checks

    func checkSocket(for member: ServiceMember) -> CheckSocket? {
        state.withLock { $0.ids[member] }.map { CheckSocket(mark: $0, device: 8) }
    }

    /// The packets of checks that a packet filter of the director's machine drops.
    enum PacketFilter { case questions, answers }

    func setFilter(_ filter: PacketFilter?) { state.withLock { $0.filter = filter } }

    /// Returns the packet counts of a real server's checks, by all transports.
    func checkTraffic(of member: ServiceMember, by transport: CheckTransport, begins: Bool) -> CheckTraffic? {
        state.withLock { $0.checkTraffic[member] ?? CheckTraffic(sent: 0, answered: 0, heard: 0) }
    }

    /// Counts the packets of a check with this mark. Returns whether its socket gets an answer.
    func carryCheck(mark: UInt32, isAnswered: Bool) -> Bool {
        state.withLock { state in
            guard let member = state.ids.first(where: { $0.value == mark })?.key, state.filter != .questions else {
                return false
            }
            var traffic = state.checkTraffic[member] ?? CheckTraffic(sent: 0, answered: 0, heard: 0)
            traffic.sent += 1
            if isAnswered { traffic.answered += 1 }
            let isHeard = isAnswered && state.filter == nil
            if isHeard { traffic.heard = traffic.answered }
            state.checkTraffic[member] = traffic
            return isHeard
        }
    }

    func isCheckPathWhole() async -> Bool {
        state.withLock { $0.looks += 1 }
        for _ in 0..<5000 where state.withLock(\.holdsLooks) { try? await Task.sleep(for: .milliseconds(1)) }
        return !state.withLock(\.lacksCheckPath)
    }

    func repairCheckPath() -> Repairs {
        var repairs = Repairs()
        guard state.withLock(\.lacksCheckPath) else { return repairs }
        repairs.restored = [ManagedResource("the device of checks")]
        repairs.disturbedChecks = true
        return repairs
    }

    // MARK: Housekeeping

    func repair() -> [Repairs] { [] }
    func repairStored() -> Repairs { Repairs() }

    func sweep(for time: Duration) {
        let now = clock.now
        state.withLock { state in
            state.swept = now
            state.abandoned = []
        }
    }

    func isSwept(since start: ContinuousClock.Instant) -> Bool {
        state.withLock { $0.swept.map { $0 >= start } ?? false }
    }

    func mayHoldAbandoned(_ member: ServiceMember, until end: ContinuousClock.Instant) -> Bool {
        state.withLock { $0.abandoned.contains(member) }
    }

    var tableUse: [(name: String, size: Int, used: Int)] { [] }
}

/// A provider that opens the same data plane for each director.
struct MemoryDataPlanes: DataPlaneProvider {
    let plane: MemoryDataPlane

    func preflight(
        _ configuration: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths
    ) throws {}

    func open(
        _ configuration: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths,
        journal: ChangeJournal, logger: Logger
    ) throws -> any DataPlane {
        try plane.makePins(journal)
        return plane
    }

    func leftovers(_ instance: InstancePaths, besides changes: [Change]) throws -> [Change] { [] }
    func isPresent(_ instance: InstancePaths) -> Bool { plane.isForwarding }
    func stored(_ instance: InstancePaths) throws -> StoredDataPlane? { nil }
    func removeEmptyPlaces(_ instance: InstancePaths) {}
}

extension VirtualService {
    /// The service without decisions on its real servers, as a snapshot has it.
    fileprivate var asConfigured: VirtualService {
        var service = self
        service.servers = servers.map(\.asConfigured)
        service.startsSlowly = false
        return service
    }
}

extension RealServer {
    fileprivate var asConfigured: RealServer { RealServer(address: address, weight: weight, thresholds: thresholds) }
}
