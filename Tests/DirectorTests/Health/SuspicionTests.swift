import Addresses
import DataPlane
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

/// The checks that clients' packets start, by unanswered SYNs and by used ports. Anybody can send such packets.
struct SuspicionTests {
    private let lab = DirectorLab()
    private let service = DirectorLab.service
    private let first = DirectorLab.servers[0]
    private let second = DirectorLab.servers[1]

    /// Returns a configuration whose checks do not come in turn during a test.
    private func slowChecks() -> DirectorConfiguration {
        var configuration = DirectorLab.configuration()
        let pace = CheckPace(interval: .seconds(60), fall: 3)
        configuration.services[0].checks = .policy(CheckPolicy(kind: .tcp(port: 80), pace: pace))
        return configuration
    }

    @Test("unanswered SYNs start one check of a real server that serves, and a short disturbance takes no server down")
    func spoofedSYNs() async throws {
        try await lab.run(slowChecks()) { director in
            try await lab.pass(.seconds(1), for: director)
            let before = DirectorLab.servers.map(lab.checker.questions(to:))
            for count in 2..<42 as Range<UInt32> {
                for server in DirectorLab.servers {
                    lab.plane.setUnansweredSYNs(count, of: ServiceMember(service: service, server: server))
                }
                if count == 20 { for server in DirectorLab.servers { lab.checker.kill(server) } }
                if count == 25 { for server in DirectorLab.servers { lab.checker.revive(server) } }
                try await lab.pass(.milliseconds(100), for: director)
            }
            #expect(DirectorLab.servers.map(lab.checker.questions(to:)) == before.map { $0 + 1 })
            #expect(lab.events(of: director).isEmpty)
        }
    }

    @Test("a real server that answers no SYN is out long before its turn, after failures 100 ms apart")
    func unansweredSYNs() async throws {
        try await lab.run(slowChecks()) { director in
            try await lab.pass(.seconds(1), for: director)
            lab.checker.kill(first)
            lab.plane.setUnansweredSYNs(2, of: ServiceMember(service: service, server: first))
            var asked = lab.checker.questions(to: first)
            var times: [Int] = []
            for time in stride(from: 0, to: 1000, by: 10) {
                try await lab.pass(.milliseconds(10), for: director)
                if lab.checker.questions(to: first) > asked { times.append(time) }
                asked = lab.checker.questions(to: first)
            }
            #expect(times.count == 3, "failures that make a verdict")
            #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 >= 100 })
            #expect((times.last ?? 1000) < 500)
            #expect(lab.plane.weight(first, of: service) == nil)
            #expect(lab.plane.weight(second, of: service) == 1)
        }
    }

    @Test("a real server that refuses is checked at once, and is down after the second refusal, 100 ms later")
    func killedProcess() async throws {
        try await lab.run { director in
            try await lab.pass(.seconds(1), for: director)
            // The wait ends when the question in turn has been asked and answered.
            let asked = lab.checker.questions(to: first)
            try await lab.wait(for: director, "its turn") { lab.checker.questions(to: first) > asked }
            lab.checker.kill(first)
            lab.plane.setUnansweredSYNs(2, of: ServiceMember(service: service, server: first))
            try await lab.pass(.milliseconds(30), for: director)
            #expect(lab.checker.questions(to: first) == asked + 2)
            #expect(lab.plane.weight(first, of: service) == 1)
            try await lab.pass(.milliseconds(60), for: director)
            #expect(lab.plane.weight(first, of: service) == 1, "one refusal takes no server down")
            try await lab.pass(.milliseconds(60), for: director)
            #expect(lab.plane.weight(first, of: service) == nil)
        }
    }

    @Test("a silent learnt port takes no server down, and a refused one at most half of the servers")
    func learntPorts() async throws {
        let any = ServiceAddress(vip: DirectorLab.vip)
        let servers = DirectorLab.servers + [IPAddress(0x0A00_000D)]
        let configuration = DirectorConfiguration(
            services: [
                ConfiguredService(
                    VirtualService(address: any, scheduler: .wlc, servers: servers.map { RealServer(address: $0) }))
            ], managesAddress: false)
        try await lab.run(configuration) { director in
            lab.plane.setLearntPorts([9000], of: any)
            try await lab.pass(.seconds(4), for: director)
            for server in [first, second] { lab.checker.silence(port: 9000, of: server) }
            try await lab.pass(.seconds(5), for: director)
            #expect(lab.events(of: director).isEmpty)
            for server in [first, second] { lab.checker.close(port: 9000, of: server) }
            try await lab.pass(.seconds(5), for: director)
            let out = servers.filter { lab.plane.weight($0, of: any) == nil }
            #expect(out.count == 1)
            #expect(!out.contains(servers[2]))
            #expect(lab.events(of: director) == out.map { "server-down \($0)" })
        }
    }
}
