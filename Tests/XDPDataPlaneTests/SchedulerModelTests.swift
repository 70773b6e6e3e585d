import Addresses
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

import BPF
@testable import XDPDataPlane

/// Sends 100,000 flows by each scheduler, and expects the model's choice for each. Real servers come, go, and change
/// weights and thresholds meanwhile.
@MainActor
@Suite(.serialized, .needsRoot)
struct SchedulerModelTests {
    private static let shared = Swift.Result { try Lab(Configuration(services: [], paths: [])) }
    private static let flowsOfAConfiguration = 1000
    private static let flows = 100_000

    private let lab: Lab
    private let service = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)

    init() throws {
        lab = try Self.shared.get()
        try lab.apply(Configuration(services: [], paths: []))
        lab.forgetFlows()
        for _ in 0..<3 { try lab.plane.sweep() }
    }

    @Test(
        "a scheduler without flags chooses as its model",
        arguments: Scheduler.allCases.filter { ![.sh, .mh].contains($0) })
    func withoutFlags(_ scheduler: Scheduler) throws { try compare(scheduler, [], flows: Self.flows) }

    @Test(
        "sh chooses as its model",
        arguments: [[], [.shPort], [.shFallback], [.shPort, .shFallback]] as [Set<SchedulerFlag>])
    func sourceHashing(_ flags: Set<SchedulerFlag>) throws { try compare(.sh, flags, flows: Self.flows / 4) }

    @Test(
        "mh chooses as its model",
        arguments: [[], [.mhPort], [.mhFallback], [.mhPort, .mhFallback]] as [Set<SchedulerFlag>])
    func maglevHashing(_ flags: Set<SchedulerFlag>) throws { try compare(.mh, flags, flows: Self.flows / 4) }

    private static func clients(_ scheduler: Scheduler) -> Int {
        switch scheduler {
        // With many clients, ovf refuses more connections than it takes.
        case .ovf: 400
        // Servers are often equally loaded with so few clients. Of equal servers in a set, the latest to join comes
        // first.
        case .lblc, .lblcr: 60
        default: 1500
        }
    }

    /// A client's address and port, with the connection that it has.
    private struct Client {
        var frame: [UInt8]
        var address: IPv4Address
        var port: UInt16
        var key: UInt64
        var server: UInt8?
        var isClosed = false
    }

    private func compare(_ scheduler: Scheduler, _ flags: Set<SchedulerFlag>, flows: Int) throws {
        let seed = UInt64(scheduler.rawValue.utf8.reduce(flags.count) { $0 * 31 + Int($1) })
        var random = SplitMix(seed: seed)
        var model = SchedulerModel(scheduler, flags, vip: Standard.main, maglevSize: 251)
        try configure(&model, &random)
        var clients = try (0..<Self.clients(scheduler)).map { _ in try client(&random) }
        var (scheduled, refused) = (0, 0)
        while scheduled < flows {
            let index = Int.random(in: clients.indices, using: &random)
            if let server = clients[index].server, !clients[index].isClosed {
                guard try send(&clients[index], [.fin, .ack]) == server else {
                    Issue.record("seed \(seed), flow \(scheduled): a FIN left its connection")
                    return
                }
                model.close(server)
                clients[index].isClosed = true
                continue
            }
            let expected = model.choose(client: clients[index].address, port: clients[index].port)
            let chosen = try send(&clients[index], [.syn])
            guard chosen == expected else {
                Issue.record(
                    """
                    seed \(seed), flow \(scheduled): \(String(describing: chosen)) instead of \
                    \(String(describing: expected)) of \(model.servers), \
                    \(model.servers.map { model.counts[Int($0.number)] })
                    """)
                return
            }
            scheduled += 1
            if let expected {
                if let old = clients[index].server { model.forgetClosed(old) }
                model.connect(expected)
                clients[index].server = expected
                clients[index].isClosed = false
                _ = try send(&clients[index], [.ack])
            } else {
                refused += 1
            }
            if scheduled % Self.flowsOfAConfiguration == 0 {
                try expire(&clients, &model, &random)
                try configure(&model, &random)
                try passTime(&model, &random)
            }
        }
        #expect(lab.loads() == lab.recount())
        // Thresholds mattered, but did not decide every choice.
        #expect(model.refusals > flows / 20)
        #expect(refused < flows * 3 / 4)
    }

    // MARK: Configurations

    private static let weights: [UInt16] = [0, 1, 1, 2, 3, 5, 10, 50, 200, 1000]

    private func thresholds(_ scheduler: Scheduler, _ random: inout SplitMix) -> ConnectionThresholds? {
        guard Int.random(in: 0..<3, using: &random) > 0 else { return nil }
        let upper = UInt32.random(in: 1...UInt32(Self.clients(scheduler) / 5), using: &random)
        return ConnectionThresholds(
            upper: upper, lower: Bool.random(using: &random) ? nil : UInt32.random(in: 1...upper, using: &random))
    }

    private func server(_ number: UInt8, _ scheduler: Scheduler, _ random: inout SplitMix) -> SchedulerModel.Server {
        SchedulerModel.Server(
            number: number, weight: Self.weights.randomElement(using: &random) ?? 1,
            thresholds: thresholds(scheduler, &random))
    }

    /// Configures six servers at first. Later calls add, remove or change some of twelve servers.
    private func configure(_ model: inout SchedulerModel, _ random: inout SplitMix) throws {
        var servers = model.servers
        if servers.isEmpty { servers = (1...6).map { server($0, model.scheduler, &random) } }
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            let index = Int.random(in: servers.indices, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: servers[index].weight = Self.weights.randomElement(using: &random) ?? 1
            case 1: servers[index].thresholds = thresholds(model.scheduler, &random)
            case 2: servers[index].isDown.toggle()
            case 3: servers.shuffle(using: &random)
            case 4 where servers.count > 2: servers.remove(at: index)
            default:
                let number = UInt8.random(in: 1...12, using: &random)
                if !servers.contains(where: { $0.number == number }) {
                    servers.append(server(number, model.scheduler, &random))
                }
            }
        }
        model.configure(servers)
        try lab.plane.apply([
            VirtualService(
                VirtualService(
                    address: service, scheduler: model.scheduler, flags: model.flags, maglevSize: model.maglevSize,
                    servers: servers.map {
                        RealServer(
                            address: Standard.server($0.number), weight: $0.weight, thresholds: $0.thresholds)
                    }), effective: Standard.down(Set(servers.filter(\.isDown).map(\.number))))
        ])
        for server in servers {
            try lab.plane.setPath(Standard.path(server.number), to: Standard.server(server.number))
        }
    }

    // MARK: Time

    /// Expires half of the closed connections. Drops removed servers that have no connections left.
    private func expire(_ clients: inout [Client], _ model: inout SchedulerModel, _ random: inout SplitMix) throws {
        let long = try lab.now &- lab.timeout(IPVSD_STATE_FIN_WAIT) &- 1
        for index in clients.indices where clients[index].isClosed {
            guard let server = clients[index].server, Bool.random(using: &random) else { continue }
            for entry in lab.places(ofKey: clients[index].key) where entry.pointee.key == clients[index].key {
                entry.pointee.value = entry.pointee.value & (1 << 48 - 1) | UInt64(long) << 48
            }
            model.forgetClosed(server)
            clients[index].server = nil
            clients[index].isClosed = false
        }
        try lab.plane.sweep()
        for number in 1...12 as ClosedRange<UInt8>
        where lab.plane.serverID(service: service, server: Standard.server(number)) == nil {
            model.forget(number)
        }
    }

    /// Sometimes lets a day pass for lblc and lblcr.
    private func passTime(_ model: inout SchedulerModel, _ random: inout SplitMix) throws {
        let index = Int(try #require(lab.plane.services[service]))
        let row = lab.plane.maps.services[index]
        func store(_ value: UInt32, at field: KeyPath<ipvsd_service, UInt32>) {
            lab.plane.maps.services.field(field, of: index).pointee = value
        }
        switch Int.random(in: 0..<8, using: &random) {
        case 0...2:
            store(row.changed &- UInt32(IPVSD_LOCALITY_EXPIRATION) &- 2, at: \.changed)
            model.passADay()
        case 3:
            store(row.used &- UInt32(IPVSD_LOCALITY_EXPIRATION) &- 2, at: \.used)
            model.passAnIdleDay()
        default: break
        }
    }

    // MARK: Packets

    private func client(_ random: inout SplitMix) throws -> Client {
        let flow = FlowKey(
            client: IPv4Address(UInt32.random(in: 0x0B00_0000...0x0BFF_FFFF, using: &random)),
            clientPort: UInt16.random(in: 1024...65535, using: &random), vip: Standard.main, port: 80)
        return Client(
            frame: flow.packet([.syn]).bytes, address: flow.client, port: flow.clientPort, key: try lab.key(of: flow))
    }

    /// Sends a packet of the client. Returns the number of the real server that gets it, or nil.
    private func send(_ client: inout Client, _ flags: PacketBuilder.TCPFlags) throws -> UInt8? {
        client.frame[47] = flags.rawValue
        return try lab.send(client.frame).map { UInt8(truncatingIfNeeded: $0.value) }
    }
}
