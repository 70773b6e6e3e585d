import Addresses
import Foundation
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

/// The decisions on requests of operators, which are not applied.
struct MaintenanceTests {
    private let web = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp)
    private let mail = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 25, transport: .tcp)
    private let one = IPAddress(0x0A00_000B)
    private let two = IPAddress(0x0A00_000C)
    private let path = NSTemporaryDirectory() + "/overrides-\(UUID().uuidString).json"
    private let now = Date(timeIntervalSince1970: 1000)

    private func configuration(quorum: Int = 1) -> DirectorConfiguration {
        DirectorConfiguration(
            services: [web, mail].map { service in
                ConfiguredService(
                    VirtualService(
                        address: service, scheduler: .wlc, servers: [one, two].map { RealServer(address: $0) }),
                    policy: ServicePolicy(quorum: Quorum.Rule(required: quorum)))
            })
    }

    private func state(_ configuration: DirectorConfiguration) -> (ServiceAddress) -> ServiceState? {
        { address in
            configuration[address].map { service in
                ServiceState(
                    servers: service.servers, policy: service.policy,
                    health: ServiceHealth(of: service, initiallyDown: [], answered: [:]),
                    at: .now)
            }
        }
    }

    private func drain(
        _ request: DrainRequest, by maintenance: Maintenance, quorum: Int = 1
    ) throws -> Maintenance.Decision {
        let configuration = configuration(quorum: quorum)
        return try maintenance.drain(request, in: configuration, health: state(configuration), at: now)
    }

    @Test("a drain holds in all services that have the real server, or in the one that is named")
    func services() throws {
        let maintenance = Maintenance(path: path)
        let all = try #require(try drain(DrainRequest(server: "\(one)"), by: maintenance).change)
        #expect(all.services.map(\.address) == [web, mail])
        #expect(all.overrides.drain(of: one, in: all.services[1].forwarding)?.since == now)
        let decision = try drain(DrainRequest(server: "\(one)", service: "\(mail)"), by: maintenance)
        #expect(decision.services.map(\.address) == [mail])
        #expect(decision.change?.services.map(\.address) == [mail])
        // A decision changes nothing.
        #expect(maintenance.overrides.isEmpty)
    }

    @Test("a drain below the quorum takes --force")
    func quorum() throws {
        let maintenance = Maintenance(path: path)
        #expect(throws: DirectorError.self) {
            try drain(DrainRequest(server: "\(one)"), by: maintenance, quorum: 2)
        }
        let forced = DrainRequest(server: "\(one)", force: true)
        #expect(try drain(forced, by: maintenance, quorum: 2).change != nil)
    }

    @Test("a repeated drain can only add moves")
    func again() throws {
        var maintenance = Maintenance(path: path)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try maintenance.set(try #require(try drain(DrainRequest(server: "\(one)"), by: maintenance).change).overrides)
        #expect(try drain(DrainRequest(server: "\(one)"), by: maintenance).change == nil)
        let moved = try #require(
            try drain(DrainRequest(server: "\(one)", movePersistent: true), by: maintenance).change)
        #expect(moved.services.isEmpty)
        #expect(moved.persistent.map(\.address) == [web, mail])
        #expect(moved.datagrams.isEmpty)
    }

    @Test("a drain in all services has no end in one of them")
    func undrain() throws {
        var maintenance = Maintenance(path: path)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try maintenance.set(try #require(try drain(DrainRequest(server: "\(one)"), by: maintenance).change).overrides)
        #expect(throws: DirectorError.self) {
            try maintenance.undrain(DrainRequest(server: "\(one)", service: "\(web)"), in: configuration())
        }
        let end = try #require(
            try maintenance.undrain(DrainRequest(server: "\(one)"), in: configuration()).change)
        #expect(end.turn == .undrained)
        #expect(end.overrides.isEmpty)
        #expect(end.services.map(\.address) == [web, mail])
        // The drain of a removed real server also ends.
        let gone = try maintenance.undrain(DrainRequest(server: "\(one)"), in: DirectorConfiguration(services: []))
        #expect(gone.services.isEmpty)
        #expect(gone.change?.overrides.isEmpty == true)
    }

    @Test("an unknown real server or service is refused with the accepted ones")
    func unknown() throws {
        let maintenance = Maintenance(path: path)
        for request in [DrainRequest(server: "10.0.0.99"), DrainRequest(server: "\(one)", service: "10.0.0.100:443")] {
            let error = #expect(throws: DirectorError.self) { try drain(request, by: maintenance) }
            #expect(error?.description.contains("accepted:") == true)
        }
    }

    @Test("drains are written before they are in force, and stay unchanged where the write fails")
    func disk() throws {
        var maintenance = Maintenance(path: path)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let before = maintenance.overrides
        let wanted = try #require(try drain(DrainRequest(server: "\(one)"), by: maintenance).change).overrides
        try maintenance.set(wanted)
        var next = Maintenance(path: path)
        #expect(next.takeOver() == nil)
        #expect(next.overrides == wanted)
        try maintenance.restore(before)
        #expect(maintenance.overrides.isEmpty)
        #expect(!FileManager.default.fileExists(atPath: path))
        var refused = Maintenance(path: "/proc/overrides.json")
        #expect(throws: (any Error).self) { try refused.set(wanted) }
        #expect(refused.overrides.isEmpty)
    }
}
