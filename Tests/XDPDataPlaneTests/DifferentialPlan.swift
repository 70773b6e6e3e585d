import Addresses
import LoadBalancing
import Netlink
import TestSupport

@testable import XDPDataPlane

/// The sequence of configurations for the model and the packet program.
struct DifferentialPlan {
    /// The constants of the packet program, and the numbers of buckets and of flows that compete for them.
    struct Traits {
        var answersByRedirect: Bool
        var mayAnswer: Bool
        /// Whether the director's MAC addresses are set. If not, all frames are for the director.
        var knowsItsMACs: Bool
        var outerSources: IPv4Prefix?
        /// The number of buckets of the flow table, which gives the flows plenty of room, or too little.
        var buckets: Int
        var flows: Int
    }

    static let vips = (1...6).map { address("198.51.100.\($0 * 10)") }
    static let numbers = 1...12 as ClosedRange<UInt8>

    var random: SplitMix
    let traits: Traits
    private(set) var services: [VirtualService] = []
    /// The services that are not configured now.
    private var absent: [VirtualService] = []
    private(set) var paths: [UInt8: Path] = [:]
    private(set) var ingressMTU = 1500
    private(set) var timeouts = Timeouts()
    private(set) var halfOpenLimit = 0
    private(set) var silentAfter: UInt32 = 0
    private(set) var fragmentingPeer: MACAddress?

    init(seed: UInt64, round: Int) {
        var random = SplitMix(seed: seed)
        let isCrowded = round % 2 == 1
        traits = Traits(
            answersByRedirect: Bool.random(using: &random), mayAnswer: round % 5 != 4,
            knowsItsMACs: Int.random(in: 0..<4, using: &random) > 0,
            outerSources: Bool.random(using: &random) ? IPv4Prefix(address("203.0.112.0"), length: 24) : nil,
            buckets: isCrowded ? 32 : 1024, flows: 600)
        if round % 3 != 2 { fragmentingPeer = mac(77) }
        self.random = random
        services = Self.listeners.map { service($0[0], Array($0.dropFirst())) }
        for number in Self.numbers { paths[number] = path(number) }
        change()
    }

    private static let listeners: [[ServiceAddress]] = [
        [
            ServiceAddress(vip: vips[0], port: 80, transport: .tcp),
            ServiceAddress(vip: vips[0], port: 443, transport: .tcp),
            ServiceAddress(vip: vips[1], port: 80, transport: .tcp),
        ],
        [
            ServiceAddress(vip: vips[0], port: 53, transport: .udp),
            ServiceAddress(vip: vips[0], port: 80, transport: .udp),
        ],
        [ServiceAddress(vip: vips[0])],
        [
            ServiceAddress(vip: vips[1], port: 443, transport: .tcp),
            ServiceAddress(vip: vips[1], port: 80, transport: .udp),
        ],
        [ServiceAddress(vip: vips[2])],
        [
            ServiceAddress(vip: vips[3], port: 80, transport: .tcp),
            ServiceAddress(vip: vips[3], port: 80, transport: .udp),
        ],
        [ServiceAddress(vip: vips[4], port: 80, transport: .tcp)],
        [ServiceAddress(vip: vips[5])],
    ]

    // MARK: Services

    private mutating func service(_ address: ServiceAddress, _ others: [ServiceAddress]) -> VirtualService {
        let scheduler = Scheduler.allCases.randomElement(using: &random) ?? .rr
        let flags = SchedulerFlag.allCases.filter { $0.scheduler == scheduler && Bool.random(using: &random) }
        let persistence = Persistence(
            timeout: .random(in: 1...600, using: &random),
            prefixLength: [32, 32, 24, 16].randomElement(using: &random) ?? 32)
        var service = VirtualService(
            address: address, scheduler: scheduler, flags: Set(flags),
            onServerLoss: ServerLoss.allCases.randomElement(using: &random) ?? .keep,
            onServerRemoval: ServerRemoval.allCases.randomElement(using: &random) ?? .move,
            persistence: chance(30) ? persistence : nil, isOnePacket: chance(30), otherAddresses: others,
            maglevSize: 251, servers: [])
        for number in Self.numbers where chance(35) { service.servers.append(server(number)) }
        return service
    }

    private mutating func server(_ number: UInt8) -> RealServer {
        RealServer(
            address: Standard.server(number),
            weight: [0, 1, 1, 2, 3, 10, 200].randomElement(using: &random) ?? 1,
            thresholds: chance(20) ? thresholds() : nil)
    }

    private mutating func thresholds() -> ConnectionThresholds {
        let upper = UInt32.random(in: 1...60, using: &random)
        return ConnectionThresholds(upper: upper, lower: chance(50) ? nil : .random(in: 1...upper, using: &random))
    }

    private mutating func path(_ number: UInt8) -> Path? {
        if number == 12 { return chance(80) ? .local(Standard.server(12), interface: 1) : nil }
        if chance(4) { return nil }
        var path = Standard.path(number)
        path.mtu = [1500, 1500, 1500, 1480, 1000, 576].randomElement(using: &random) ?? 1500
        path.transmits = chance(30)
        if chance(25) { path.tags = [VLANTag(id: 100)] }
        if chance(10) { path.tags = [VLANTag(protocolID: 0x88A8, id: 7), VLANTag(id: 4094)] }
        if chance(4) { path.nextHopMAC = nil }
        return path
    }

    private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    // MARK: Changes

    mutating func change() {
        for _ in 0..<Int.random(in: 1...6, using: &random) where !services.isEmpty {
            changeServers(of: Int.random(in: services.indices, using: &random))
        }
        for number in Self.numbers where chance(8) { paths[number] = path(number) }
        if chance(10), services.count > 4 {
            absent.append(services.remove(at: Int.random(in: services.indices, using: &random)))
        }
        if chance(30), !absent.isEmpty { services.append(absent.removeFirst()) }
        if chance(20) { ingressMTU = [1500, 1500, 1400].randomElement(using: &random) ?? 1500 }
        if chance(20) { silentAfter = [0, 1, 3, 10].randomElement(using: &random) ?? 0 }
        if chance(20) { halfOpenLimit = [0, 0, 20, 60].randomElement(using: &random) ?? 0 }
        if chance(10) {
            timeouts.tcp = .random(in: 30...1000, using: &random)
            timeouts.tcpSyn = .random(in: 5...100, using: &random)
            timeouts.udp = .random(in: 5...300, using: &random)
        }
    }

    private mutating func changeServers(of index: Int) {
        var servers = services[index].servers
        let position = servers.indices.randomElement(using: &random)
        switch (Int.random(in: 0..<9, using: &random), position) {
        case (0, let position?):
            servers.remove(at: position)
        case (1...2, let position?):
            if servers[position].isAsConfigured {
                servers[position].effective = chance(30) ? .standby : .down
            } else {
                servers[position].serveByWeight()
            }
        case (3, let position?): servers[position].thresholds = chance(40) ? nil : thresholds()
        case (4, let position?): servers[position].weight = .random(in: 0...5, using: &random)
        case (5, _): servers.shuffle(using: &random)
        case (6, let position?): servers[position].movesPersistent.toggle()
        case (7, let position?): servers[position].movesDatagrams.toggle()
        default:
            let number = UInt8.random(in: Self.numbers, using: &random)
            if !servers.contains(where: { $0.address == Standard.server(number) }) { servers.append(server(number)) }
        }
        services[index].servers = servers
    }
}
