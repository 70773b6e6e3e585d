import LoadBalancing
import Testing

@testable import HealthChecks

/// Required and learnt probes, and what the last daemon left.
struct ServiceHealthTests {
    private let one = IPv4Address(0x0A00_0001)
    private let two = IPv4Address(0x0A00_0002)
    private let web = Probe.tcp(port: 80)
    private let shell = Probe.tcp(port: 22)

    private func health(_ required: Set<Probe>, down: Set<IPv4Address> = []) -> ServiceHealth {
        ServiceHealth(required: required, rise: 2, fall: 2, initiallyDown: down)
    }

    @Test func unprovenServersAreUp() {
        let health = health([.ping])
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: false, reason: nil))
        #expect(health.isUndecided(.ping, of: one))
    }

    @Test func everyRequiredProbeCounts() {
        var health = health([.ping, web])
        health.record(.success, of: .ping, on: one)
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: false, reason: nil))
        health.record(.success, of: web, on: one)
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: true, reason: nil))
        #expect(!health.isUndecided(web, of: one))
        health.record(.failure("refused"), of: web, on: one)
        #expect(health.verdict(of: one).isUp && health.isUndecided(web, of: one))
        health.record(.failure("refused"), of: web, on: one)
        #expect(health.verdict(of: one) == .init(isUp: false, isProven: true, reason: "refused"))
        #expect(health.verdict(of: two).isUp)
        health.record(.success, of: web, on: one)
        #expect(!health.verdict(of: one).isUp)
        health.record(.success, of: web, on: one)
        #expect(health.verdict(of: one).isUp)
    }

    @Test func noProbesProveNothing() {
        #expect(health([]).verdict(of: one) == .init(isUp: true, isProven: false, reason: nil))
    }

    @Test func learnsPortsUpToALimit() {
        var health = health([web])
        health.learn(ports: [80, 443, 22, 25])
        #expect(health.questions == [web, shell, .tcp(port: 25), .tcp(port: 443)])
        health.learn(ports: [1, 2, 3], limit: 4)
        #expect(health.questions.count == 5 && health.questions.contains(.tcp(port: 1)))
        health.learn(ports: [4], limit: 4)
        #expect(health.questions.count == 5)
    }

    /// A port that stops on one server while it goes on elsewhere.
    @Test func learntPortsCountByComparison() {
        var health = health([.ping])
        health.learn(ports: [22])
        for server in [one, two] {
            health.record(.success, of: .ping, on: server)
            health.record(.success, of: shell, on: server)
        }
        for _ in 0..<2 { health.record(.failure("refused"), of: shell, on: one) }
        #expect(health.verdict(of: one) == .init(isUp: false, isProven: true, reason: "refused"))
        #expect(health.verdict(of: two).isUp)
        // It stops everywhere: nobody is out.
        health.record(.failure("refused"), of: shell, on: two)
        #expect(health.verdict(of: one).isUp && health.verdict(of: two).isUp)
    }

    /// A port that only one server has open takes no other out.
    @Test func whatNeverAnsweredCannotStop() {
        var health = health([.ping])
        health.learn(ports: [22])
        health.record(.success, of: shell, on: one)
        for _ in 0..<3 { health.record(.failure("refused"), of: shell, on: two) }
        #expect(health.verdict(of: one).isUp && health.verdict(of: two).isUp)
    }

    @Test func aloneThereIsNoComparison() {
        var health = health([])
        health.learn(ports: [22])
        health.record(.success, of: shell, on: one)
        for _ in 0..<3 { health.record(.failure("refused"), of: shell, on: one) }
        #expect(health.verdict(of: one).isUp)
    }

    @Test func takenOverServersProveThemselves() {
        var health = health([.ping, web], down: [one])
        #expect(!health.verdict(of: one).isUp && !health.verdict(of: one).isProven)
        #expect(health.verdict(of: two).isUp)
        for _ in 0..<2 { health.record(.success, of: .ping, on: one) }
        #expect(!health.verdict(of: one).isUp)
        health.record(.success, of: web, on: one)
        #expect(!health.verdict(of: one).isUp)
        health.record(.success, of: web, on: one)
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: true, reason: nil))
    }

    @Test func takenOverServersStayDownByTheirOwnFailure() {
        var health = health([.ping], down: [one])
        health.record(.success, of: .ping, on: one)
        health.record(.failure("silent"), of: .ping, on: one)
        health.record(.success, of: .ping, on: one)
        #expect(!health.verdict(of: one).isUp)
        health.record(.failure("silent"), of: .ping, on: one)
        #expect(health.verdict(of: one) == .init(isUp: false, isProven: true, reason: "silent"))
    }
}
