import Addresses
import DataPlane
import Foundation
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director
@testable import HostState

/// The take-over of a data plane and of stored state by another director, in memory.
struct TakeoverTests {
    private let lab = DirectorLab()
    private let service = DirectorLab.service
    private let first = DirectorLab.servers[0]
    private let second = DirectorLab.servers[1]
    private let third = IPAddress(0x0A00_000D)

    @Test("a director that takes over keeps servers down that were down, and drained that were drained")
    func takeover() async throws {
        try await lab.run { director in
            lab.checker.kill(first)
            try await lab.wait(for: director, "the killed real server is out") {
                lab.plane.weight(first, of: service) == nil
            }
            _ = try await director.drain(DrainRequest(server: "\(second)", force: true))
        }
        try await lab.run { director in
            #expect(lab.plane.weight(first, of: service) == nil)
            #expect(lab.plane.weight(second, of: service) == 0)
            lab.checker.revive(first)
            try await lab.wait(for: director, "it is back") { lab.plane.weight(first, of: service) == 1 }
            _ = try await director.undrain(DrainRequest(server: "\(second)"))
            #expect(lab.plane.weight(second, of: service) == 1)
        }
    }

    @Test("a start that fails removes what it has pinned, unless it may be the data plane of before")
    func failedStart() async throws {
        let instance = InstancePaths(directory: lab.directory)
        let (first, second) = (lab.directory + "/first", lab.directory + "/second")
        lab.plane.setPins([first])
        lab.plane.refuse(1)
        await #expect(throws: DirectorError.self) { try await lab.run { _ in } }
        #expect(!FileManager.default.fileExists(atPath: first))
        #expect(try ChangeJournal.read(path: instance.journal).isEmpty)
        try await lab.run { _ in }
        // With these pins, the start is like one that migrates an older data plane.
        lab.plane.setPins([first, second])
        lab.plane.refuse(2)
        await #expect(throws: DirectorError.self) { try await lab.run { _ in } }
        for path in [first, second] { #expect(FileManager.default.fileExists(atPath: path), "\(path)") }
        let journalled = try ChangeJournal.read(path: instance.journal)
        #expect(journalled == [.pin(path: first), .pin(path: second)])
    }

    @Test("a slow start goes on over a take-over")
    func slowStart() async throws {
        let configuration = DirectorLab.configuration(policy: ServicePolicy(slowStart: .seconds(10)))
        func tenths() -> Int { lab.plane.tenths(first, of: service) ?? 0 }
        try await lab.run(configuration) { director in
            lab.checker.kill(first)
            try await lab.wait(for: director, "it is out") { lab.plane.weight(first, of: service) == nil }
            lab.checker.revive(first)
            try await lab.wait(for: director, "it is half back") { tenths() >= 5 }
        }
        let before = tenths()
        try await lab.run(configuration) { director in
            #expect((before..<SlowStart.whole).contains(tenths()))
            try await lab.wait(for: director, "it has its whole share") { tenths() == SlowStart.whole }
        }
    }

    @Test("a real server that falls too often is held out, also by the next director, until it is needed")
    func flapDamping() async throws {
        let servers = DirectorLab.servers + [third]
        var configuration = DirectorLab.configuration(
            servers: servers.map { RealServer(address: $0) }, policy: ServicePolicy(flapDamping: .seconds(30)))
        let pace = CheckPace(interval: .milliseconds(200), timeout: .milliseconds(200), rise: 1, fall: 1)
        configuration.services[0].checks = .policy(CheckPolicy(kind: .tcp(port: 80), pace: pace))
        try await lab.run(configuration, isKilled: true) { director in
            for fall in 1...3 {
                lab.checker.kill(third)
                try await lab.wait(for: director, "fall \(fall)") { lab.plane.weight(third, of: service) == nil }
                lab.checker.revive(third)
                if fall < 3 {
                    try await lab.wait(for: director, "it is back") { lab.plane.weight(third, of: service) == 1 }
                }
            }
            try await lab.wait(for: director, "it is held out") {
                lab.events(of: director).contains("server-damped \(third)")
            }
            #expect(lab.plane.weight(third, of: service) == nil)
        }
        try await lab.run(configuration) { director in
            try await lab.pass(.seconds(2), for: director)
            #expect(lab.plane.weight(third, of: service) == nil)
            #expect(DirectorLab.servers.allSatisfy { lab.plane.weight($0, of: service) == 1 })
            // One usable real server of three is too few, so damping ends.
            lab.checker.kill(first)
            try await lab.wait(for: director, "it is taken back") { lab.plane.weight(third, of: service) == 1 }
            #expect(lab.plane.weight(first, of: service) == nil)
        }
    }

    @Test("a sorry server serves on over a reload and a take-over, until the quorum is there")
    func sorryServer() async throws {
        let policy = ServicePolicy(quorum: Quorum.Rule(required: 2), sorryServer: third)
        func serves() -> Bool {
            lab.plane.weight(third, of: service) == 1
                && DirectorLab.servers.allSatisfy { lab.plane.weight($0, of: service) == nil }
        }
        var configuration = DirectorLab.configuration(policy: policy)
        try await lab.run(configuration) { director in
            lab.checker.kill(second)
            try await lab.wait(for: director, "the sorry server serves") { serves() }
            configuration.services[0].forwarding.scheduler = .rr
            _ = try await director.reload(configuration)
            #expect(serves())
        }
        try await lab.run(configuration) { director in
            #expect(serves())
            try await lab.pass(.seconds(3), for: director)
            #expect(serves())
            lab.checker.revive(second)
            try await lab.wait(for: director, "the real servers serve") {
                lab.plane.weight(third, of: service) == nil
                    && DirectorLab.servers.allSatisfy { lab.plane.weight($0, of: service) == 1 }
            }
        }
    }

    @Test("a sorry server that was a real server keeps nothing")
    func formerServer() async throws {
        let servers = (DirectorLab.servers + [third]).map { RealServer(address: $0) }
        try await lab.run(DirectorLab.configuration(servers: servers)) { _ in }
        let policy = ServicePolicy(sorryServer: third)
        try await lab.run(DirectorLab.configuration(policy: policy)) { director in
            try await lab.pass(.seconds(2), for: director)
            #expect(lab.plane.weight(third, of: service) == nil)
            #expect(DirectorLab.servers.allSatisfy { lab.plane.weight($0, of: service) == 1 })
            #expect(lab.events(of: director).isEmpty)
        }
    }

    @Test("a director publishes at its start what a service lacks")
    func lacking() async throws {
        let policy = ServicePolicy(quorum: Quorum.Rule(required: 2), sorryServer: third)
        let configuration = DirectorLab.configuration(policy: policy)
        try await lab.run(configuration, isKilled: true) { director in
            #expect(lab.events(of: director).isEmpty)
            _ = try await director.drain(DrainRequest(server: "\(first)", force: true))
            let published = ["server-drained \(first)", "quorum-lost", "sorry-server-in \(third)"]
            #expect(lab.events(of: director) == published)
            _ = try await director.drain(DrainRequest(server: "\(second)", force: true))
        }
        try await lab.run(configuration) { director in
            #expect(lab.events(of: director) == ["quorum-lost", "service-down", "sorry-server-in \(third)"])
            #expect(lab.plane.weight(third, of: service) == 1)
            _ = try await director.undrain(DrainRequest(server: "\(first)"))
            #expect(lab.events(of: director).contains("service-up"))
        }
    }

    @Test("a director publishes once that a lack of the last daemon's time has ended")
    func regained() async throws {
        func configuration(_ server: IPAddress) -> DirectorConfiguration {
            DirectorLab.configuration(
                servers: [RealServer(address: server)], policy: ServicePolicy(sorryServer: third))
        }
        let lacking = ["quorum-lost", "service-down", "sorry-server-in \(third)"]
        try await lab.run(configuration(first), isKilled: true) { director in
            lab.checker.kill(first)
            try await lab.wait(for: director, "the service is down") {
                lab.events(of: director).contains("service-down")
            }
        }
        // The next daemon publishes only the lacks that persist.
        try await lab.run(configuration(first), isKilled: true) { director in
            try await lab.pass(.seconds(2), for: director)
            #expect(lab.events(of: director) == lacking)
        }
        let regained = ["quorum-regained", "service-up", "sorry-server-out \(third)"]
        try await lab.run(configuration(second), isKilled: true) { director in
            #expect(lab.events(of: director).isEmpty, "the first check has no result yet")
            try await lab.wait(for: director, "the ends are published") { lab.events(of: director) == regained }
            let events = director.events.read(after: 0).events
            #expect(events.allSatisfy { event in event.since.map { $0 < event.time } ?? false })
        }
        try await lab.run(configuration(second)) { director in
            try await lab.pass(.seconds(3), for: director)
            #expect(lab.events(of: director).isEmpty)
        }
    }
}
