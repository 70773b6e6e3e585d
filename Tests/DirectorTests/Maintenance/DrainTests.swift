import Addresses
import DataPlane
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

/// The drains of a whole director in memory.
struct DrainTests {
    private let lab = DirectorLab()
    private let service = DirectorLab.service
    private let first = DirectorLab.servers[0]
    private let second = DirectorLab.servers[1]
    private let third = IPAddress(0x0A00_000D)

    @Test("a drain that comes during a reload holds after it")
    func drainDuringReload() async throws {
        try await lab.run { director in
            let third = IPAddress(0x0A00_000D)
            // The reload waits for the next hop of a new real server.
            lab.network.silence(third)
            let servers = (DirectorLab.servers + [third]).map { RealServer(address: $0) }
            let reload = Task { try await director.reload(DirectorLab.configuration(servers: servers)) }
            try await lab.pass(.milliseconds(50), for: director)
            #expect(lab.plane.weight(third, of: service) == nil, "the reload waits")
            let report = try await director.drain(DrainRequest(server: "\(first)"))
            #expect(report.changed)
            #expect(lab.plane.weight(first, of: service) == 0)
            try await lab.wait(for: director, "the reload has ended") { lab.plane.weight(third, of: service) == 1 }
            #expect(try await reload.value == "real servers added: 1")
            #expect(lab.plane.weight(first, of: service) == 0)
            #expect(lab.events(of: director).contains("server-drained \(first)"))
        }
    }

    @Test("a drain that the data plane refuses changes nothing")
    func refusedDrain() async throws {
        try await lab.run { director in
            lab.plane.refuse(1)
            await #expect(throws: DirectorError.self) {
                try await director.drain(DrainRequest(server: "\(first)"))
            }
            #expect(lab.plane.weight(first, of: service) == 1)
            #expect(!lab.events(of: director).contains("server-drained \(first)"))
            try await lab.pass(.seconds(2), for: director)
            #expect(lab.plane.weight(first, of: service) == 1)
        }
    }

    @Test("a drain that the disk refuses leaves the data plane alone")
    func unstoredDrain() async throws {
        try await lab.run { director in
            try await lab.pass(.seconds(1), for: director)
            try lab.refuseOverrides()
            let updates = lab.plane.updates
            await #expect(throws: DirectorError.self) {
                try await director.drain(DrainRequest(server: "\(first)"))
            }
            #expect(lab.plane.updates == updates)
            #expect(lab.plane.weight(first, of: service) == 1)
            #expect(!lab.events(of: director).contains("server-drained \(first)"))
        }
    }

    @Test("a drain holds over reloads, also of a real server that is removed and added again")
    func reloads() async throws {
        try await lab.run { director in
            _ = try await director.drain(DrainRequest(server: "\(second)"))
            for servers in [[first, third], [first, second, third]] {
                let wanted = DirectorLab.configuration(servers: servers.map { RealServer(address: $0) })
                _ = try await director.reload(wanted)
                try await lab.pass(.seconds(1), for: director)
                #expect([first, third].allSatisfy { lab.plane.weight($0, of: service) == 1 })
            }
            #expect(lab.plane.weight(second, of: service) == 0)
            _ = try await director.undrain(DrainRequest(server: "\(second)"))
            #expect(lab.plane.weight(second, of: service) == 1)
        }
    }

    @Test("a drain of one service leaves the others alone")
    func oneService() async throws {
        var configuration = DirectorLab.configuration()
        let other = ServiceAddress(vip: DirectorLab.vip, port: 8080, transport: .tcp)
        configuration.services.append(
            ConfiguredService(
                VirtualService(
                    address: other, scheduler: .wlc, servers: DirectorLab.servers.map { RealServer(address: $0) })))
        try await lab.run(configuration) { director in
            func weights() -> [UInt16?] { [service, other].map { lab.plane.weight(second, of: $0) } }
            _ = try await director.drain(DrainRequest(server: "\(second)", service: "\(other)"))
            #expect(weights() == [1, 0])
            _ = try await director.drain(DrainRequest(server: "\(second)"))
            #expect(weights() == [0, 0])
            await #expect(throws: DirectorError.self) {
                try await director.undrain(DrainRequest(server: "\(second)", service: "\(service)"))
            }
            #expect(weights() == [0, 0])
            _ = try await director.undrain(DrainRequest(server: "\(second)"))
            #expect(weights() == [1, 1])
        }
    }

    @Test("a real server that is down counts for no quorum, and is drained when it comes back")
    func downServer() async throws {
        try await lab.run { director in
            lab.checker.kill(first)
            try await lab.wait(for: director, "it is out") { lab.plane.weight(first, of: service) == nil }
            await #expect(throws: DirectorError.self) {
                try await director.drain(DrainRequest(server: "\(second)"))
            }
            _ = try await director.drain(DrainRequest(server: "\(first)"))
            lab.checker.revive(first)
            try await lab.wait(for: director, "it is up") { lab.plane.weight(first, of: service) == 0 }
            #expect(lab.plane.weight(second, of: service) == 1)
            _ = try await director.undrain(DrainRequest(server: "\(first)"))
            #expect(DirectorLab.servers.allSatisfy { lab.plane.weight($0, of: service) == 1 })
        }
    }

    @Test("an undrained real server starts slowly, and anew where it is drained half-way")
    func slowStart() async throws {
        let policy = ServicePolicy(slowStart: .seconds(10))
        try await lab.run(DirectorLab.configuration(policy: policy)) { director in
            let request = DrainRequest(server: "\(first)")
            _ = try await director.drain(request)
            #expect(lab.plane.weight(first, of: service) == 0)
            _ = try await director.undrain(request)
            try await lab.wait(for: director, "a part of its share") {
                (lab.plane.tenths(first, of: service) ?? 0) >= 3
            }
            _ = try await director.drain(request)
            #expect(lab.plane.weight(first, of: service) == 0)
            _ = try await director.undrain(request)
            var steps = [lab.plane.tenths(first, of: service) ?? 0]
            #expect(steps[0] <= 2)
            try await lab.wait(for: director, "its whole share") {
                steps.append(lab.plane.tenths(first, of: service) ?? 0)
                return steps.last == SlowStart.whole
            }
            #expect(steps == steps.sorted())
            #expect(Set(steps).count >= 8)
        }
    }
}
