import Addresses
import DataPlane
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

/// Reloads of a director as a whole, without a kernel.
struct ReloadTests {
    private let lab = DirectorLab()
    private let service = DirectorLab.service
    private let first = DirectorLab.servers[0]
    private let second = DirectorLab.servers[1]
    private let third = IPAddress(0x0A00_000D)

    @Test("a reload that the data plane refuses changes no weight")
    func refusedReload() async throws {
        try await lab.run { director in
            lab.plane.refuse(1)
            let wanted = DirectorLab.configuration(servers: [RealServer(address: second, weight: 3)])
            await #expect(throws: DirectorError.self) { try await director.reload(wanted) }
            #expect(lab.plane.weight(first, of: service) == 1)
            #expect(lab.plane.weight(second, of: service) == 1)
        }
    }

    @Test("a slow start goes on over a reload")
    func slowStartOverReload() async throws {
        let policy = ServicePolicy(slowStart: .seconds(10))
        try await lab.run(DirectorLab.configuration(policy: policy)) { director in
            lab.checker.kill(first)
            try await lab.wait(for: director, "the killed real server is out") {
                lab.plane.weight(first, of: service) == nil
            }
            lab.checker.revive(first)
            try await lab.wait(for: director, "it is half back") { (lab.plane.tenths(first, of: service) ?? 0) >= 5 }
            let share = lab.plane.tenths(first, of: service)
            let servers = [(first, 1), (second, 2)].map { RealServer(address: $0, weight: $1) }
            _ = try await director.reload(DirectorLab.configuration(servers: servers, policy: policy))
            #expect(lab.plane.weight(second, of: service) == 2)
            #expect(lab.plane.tenths(first, of: service) == share)
            try await lab.wait(for: director, "it has its whole share") {
                lab.plane.tenths(first, of: service) == SlowStart.whole
            }
        }
    }

    @Test("reloads publish the events of removed and added real servers")
    func events() async throws {
        func configuration(
            _ servers: [IPAddress], quorum: Int = 1, kind: CheckPolicy.Kind = .tcp(port: 80)
        ) -> DirectorConfiguration {
            var configuration = DirectorLab.configuration(
                servers: servers.map { RealServer(address: $0) },
                policy: ServicePolicy(quorum: Quorum.Rule(required: quorum)))
            configuration.services[0].checks = .policy(CheckPolicy(kind: kind))
            return configuration
        }
        try await lab.run(configuration([first, second], quorum: 2)) { director in
            func last(_ kind: String) -> String? { lab.events(of: director).last { $0.hasPrefix(kind) } }
            try await lab.pass(.seconds(1), for: director)
            lab.checker.kill(first)
            try await lab.wait(for: director, "the quorum is lost") { last("quorum") == "quorum-lost" }
            _ = try await director.reload(configuration([first]))
            #expect(last("service") == "service-down")
            _ = try await director.reload(configuration([first, second]))
            #expect(last("service") == "service-up")
            lab.checker.kill(second)
            try await lab.wait(for: director, "both are out") { last("service") == "service-down" }
            _ = try await director.reload(configuration([first, second, third]))
            #expect(last("service") == "service-up")
            lab.checker.kill(third)
            try await lab.wait(for: director, "all are out") { last("service") == "service-down" }
            // Without checks all real servers are up.
            #expect(try await director.metrics()?.checks.isEmpty == false)
            _ = try await director.reload(configuration([first, second, third], kind: .none))
            #expect(last("service") == "service-up")
            let up = lab.events(of: director).filter { $0.hasPrefix("server-up") }
            #expect(up.sorted() == [first, second, third].map { "server-up \($0)" })
            #expect(try await director.metrics()?.checks.isEmpty == true)
            // Checks that are configured again find the real servers down.
            _ = try await director.reload(configuration([first, second, third], kind: .ping))
            try await lab.wait(for: director, "all are out again") { last("service") == "service-down" }
        }
    }

    @Test("services share the checks of a host, and each judges by its own rule")
    func sharedChecks() async throws {
        func service(_ port: UInt16, _ checks: ServiceChecks) -> ConfiguredService {
            let address = ServiceAddress(vip: DirectorLab.vip, port: port, transport: .tcp)
            return ConfiguredService(
                VirtualService(address: address, scheduler: .wlc, servers: [RealServer(address: first)]),
                checks: checks)
        }
        let pace = CheckPace(interval: .milliseconds(500), timeout: .milliseconds(500))
        let slow = CheckPace(timeout: .milliseconds(500))
        let web = TCPCheck(port: 80)
        let direct = ServiceCheck(.http(HTTPCheck(port: 8080)), via: .direct, pace: pace)
        var strict = pace
        (strict.rise, strict.fall) = (3, 1)
        let services = [
            service(80, .listed([ServiceCheck(.tcp(web), pace: pace), direct])),
            service(8080, .listed([ServiceCheck(.tcp(web), pace: strict)])),
            service(8081, .policy(CheckPolicy(kind: .tcp(port: 80), pace: slow))),
            service(8082, .listed([direct])),
        ]
        try await lab.run(DirectorConfiguration(services: services, managesAddress: false)) { director in
            try await lab.pass(.seconds(1), for: director)
            let before = lab.checker.questions(to: first)
            try await lab.pass(.seconds(5), for: director)
            // In 5 s, two rounds with an interval of 0.5 s have ten questions each, and the round with 1 s has five.
            // Unshared rounds would have 45 questions.
            #expect((23...27).contains(lab.checker.questions(to: first) - before))
            lab.checker.close(port: 80, of: first)
            func out() -> [Bool] { services.map { lab.plane.weight(first, of: $0.address) == nil } }
            try await lab.wait(for: director, "one failure is enough for the second") { out()[1] }
            #expect(!out()[0], "the services share the round, but not rise and fall")
            try await lab.wait(for: director, "it is out of all services with this check") {
                out() == [true, true, true, false]
            }
        }
    }
}
