import Addresses
import DataPlane
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director
@testable import HealthChecks

/// The health supervisor without I/O and without a clock. Answers, time and configurations go in, and changes come out.
struct HealthSupervisorTests {
    private let web = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp)
    private let any = ServiceAddress(vip: IPAddress(0x0A00_0065))
    private let one = IPAddress(0x0A00_000B)
    private let two = IPAddress(0x0A00_000C)
    private let start = ContinuousClock.now

    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    private func configuration(
        _ service: ServiceAddress, servers: [IPAddress], kind: CheckPolicy.Kind = .auto,
        policy: ServicePolicy = ServicePolicy()
    ) -> DirectorConfiguration {
        DirectorConfiguration(
            services: [
                ConfiguredService(
                    VirtualService(
                        address: service, scheduler: .wlc, servers: servers.map { RealServer(address: $0) }),
                    checks: .policy(CheckPolicy(kind: kind)), policy: policy)
            ])
    }

    private let nothing = DataPlaneSnapshot(
        services: [], flood: .init(halfOpen: 0, limit: 0), flowTableSize: 0, counterKinds: [], counters: [:])

    private func supervisor(
        _ configuration: DirectorConfiguration, damping: [DampingFile.Entry] = [],
        answered: [ServiceAddress: [IPAddress: Set<UInt16>]] = [:]
    ) -> HealthSupervisor {
        var health = HealthSupervisor(at: start)
        health.begin(
            configuration, found: nothing, damping: damping, answered: answered, overrides: Overrides(), at: start)
        _ = health.updateRounds(for: configuration, at: start)
        return health
    }

    private func answer(_ id: Int, _ verdict: CheckVerdict) -> Checker.Answer {
        Checker.Answer(id: UInt64(id), way: .direct(one), verdict: verdict, latency: .milliseconds(1))
    }

    private let passed = CheckVerdict.passed(.init(latency: .milliseconds(1)))
    private let refused = CheckVerdict.failed(.init(stage: .connect, reason: "refused", hostAnswered: true))
    private let silent = CheckVerdict.failed(.init(stage: .connect, reason: "timed out"))
    private let notAsked = CheckVerdict.failed(.init(stage: .start, reason: "no socket", isOwn: true))

    /// Takes the rounds that are due, which are in the order of the servers.
    private func rounds(_ health: inout HealthSupervisor, at now: ContinuousClock.Instant) -> [Int] {
        health.takeDue(at: now)
    }

    @Test("failures become a verdict, and later questions go through the tunnel alone")
    func verdict() throws {
        var health = supervisor(configuration(web, servers: [one, two]))
        let asked = rounds(&health, at: at(1000))
        #expect(asked.count == 2)
        let first = health.inquiry(asked[0])
        #expect(first?.round.probe == .tcp(port: 80))
        #expect(first?.member == ServiceMember(service: web, server: one))
        #expect(first?.isAskedBeside == true, "there is no verdict yet")
        for id in asked {
            let findings = health.accept(answer(id, passed), at: at(1000))
            #expect(findings.changes.isEmpty)
            #expect(findings.shortage == nil)
            #expect(findings.silentHost == nil)
            health.finish(id, at: at(1000))
        }
        #expect(health.inquiry(asked[0])?.isAskedBeside == false)
        var findings = health.accept(answer(asked[0], silent), at: at(2000))
        #expect(findings.changes.isEmpty)
        #expect(findings.silentHost == one)
        findings = health.accept(answer(asked[0], refused), at: at(2300))
        #expect(findings.silentHost == nil)
        #expect(findings.changes.map(\.service) == [web])
        let change = try #require(findings.changes.first?.changes)
        #expect(change.hasNewWeights)
        #expect(change.transitions.count == 1)
        #expect(!health.isUp(ServiceMember(service: web, server: one)))
        #expect(health.isUp(ServiceMember(service: web, server: two)))
        #expect(health[web]?.effectiveWeight(of: one)?.standing == .down)
        let statistics = health.record.statistics[web]?[.tcp(port: 80)]
        #expect(statistics?.succeeded == 2)
        #expect(statistics?.failed == 2)
    }

    @Test("a check that this machine cannot make changes no health, and is logged once a minute")
    func shortage() {
        var health = supervisor(configuration(web, servers: [one, two]))
        let asked = rounds(&health, at: at(1000))
        let member = ServiceMember(service: web, server: one)
        #expect(health.accept(answer(asked[0], notAsked), at: at(1000)).shortage == "no socket")
        #expect(health.accept(answer(asked[1], notAsked), at: at(1000)).shortage == nil)
        #expect(health.accept(answer(asked[0], notAsked), at: at(60_999)).shortage == nil)
        #expect(health.accept(answer(asked[0], notAsked), at: at(61_000)).shortage == "no socket")
        #expect(health.isUp(member))
        #expect(health.reasonNotAsked(member)?.hasSuffix("no socket") == true)
        #expect(health.record.statistics.isEmpty)
        _ = health.accept(answer(asked[0], passed), at: at(62_000))
        #expect(health.reasonNotAsked(member) == nil)
    }

    @Test("an answer of a removed round has no findings")
    func lateAnswer() {
        var health = supervisor(configuration(web, servers: [one]))
        let asked = rounds(&health, at: at(1000))
        #expect(health.updateRounds(for: configuration(web, servers: []), at: at(1000)) == Set(asked))
        #expect(health.accept(answer(asked[0], refused), at: at(1100)).changes.isEmpty)
        #expect(health.inquiry(asked[0]) == nil)
        #expect(health.roundIDs.isEmpty)
    }

    @Test("a real server without a way is out, and no time was measured")
    func noWay() {
        var health = supervisor(configuration(web, servers: [one, two]))
        let asked = rounds(&health, at: at(1000))
        #expect(health.noteNoWay(asked[0], "no route", at: at(1000)).changes.count == 1)
        #expect(health[web]?.servers[one]?.reason == "no route")
        #expect(health.record.statistics.isEmpty)
    }

    @Test("ports that clients use are checked, kept while they answer, and forgotten else")
    func learntPorts() {
        let configuration = configuration(any, servers: [one, two])
        var health = supervisor(configuration)
        let learning = health.learn([9000], of: any, at: start)
        #expect(learning?.hasNewQuestions == true)
        #expect(learning?.forgotten.isEmpty == true)
        #expect(health.learn([9000], of: web, at: start) == nil)
        let known = health.roundIDs
        #expect(health.updateRounds(for: configuration, at: start).isEmpty)
        #expect(health.roundIDs.count > known.count)
        let asked = rounds(&health, at: at(1000)).filter { health.round($0)?.probe == .tcp(port: 9000) }
        #expect(asked.count == 2)
        var findings = health.accept(answer(asked[0], passed), at: at(1000))
        #expect(findings.answeredPorts.map(\.member) == [ServiceMember(service: any, server: one)])
        #expect(findings.answeredPorts.map(\.ports) == [[9000]])
        findings = health.accept(answer(asked[0], passed), at: at(2000))
        #expect(findings.answeredPorts.isEmpty)
        for id in asked { for step in 0..<60 { _ = health.accept(answer(id, refused), at: at(3000 + step)) } }
        let later = health.learn([], of: any, at: at(4000))
        #expect(later?.forgotten == [9000])
        #expect(later?.hasNewQuestions == true)
        #expect(health.record.statistics[any]?[.tcp(port: 9000)] == nil)
        #expect(health.updateRounds(for: configuration, at: at(4000)) == Set(asked))
    }

    @Test("time ends a slow start")
    func slowStart() {
        var health = supervisor(
            configuration(web, servers: [one, two], policy: ServicePolicy(slowStart: .seconds(10))))
        #expect(health.setDrained([one], of: web, at: at(0))?.hasNewWeights == true)
        #expect(health.advance(to: at(5000)).isEmpty)
        #expect(health.setDrained([], of: web, at: at(5000))?.hasNewWeights == true)
        #expect(health.advance(to: at(10_000)).map(\.service) == [web])
        #expect(health.advance(to: at(10_001)).isEmpty)
        #expect(health.advance(to: at(15_000)).count == 1)
        #expect(health.advance(to: at(60_000)).isEmpty)
    }

    @Test("damping is saved once for all changes of a time")
    func damping() throws {
        var fallen = FlapDamping()
        fallen.fall(at: start, halfLife: .seconds(60))
        let entry = DampingFile.Entry(service: web, server: one, damping: fallen)
        var health = supervisor(
            configuration(web, servers: [one, two], policy: ServicePolicy(flapDamping: .seconds(60))),
            damping: [entry])
        #expect(health.takeUnsavedDamping() == nil)
        let begins = health.noteUnsavedDamping()
        #expect(begins)
        let beginsAgain = health.noteUnsavedDamping()
        #expect(!beginsAgain)
        #expect(health.takeUnsavedDamping() == [entry])
        #expect(health.takeUnsavedDamping() == nil)
    }

    @Test("a real server that is down stays down under other checks, and the results of old checks go")
    func reconfiguration() {
        let old = configuration(web, servers: [one, two], kind: .tcp(port: 80))
        var health = supervisor(old)
        let asked = rounds(&health, at: at(1000))
        #expect(health.accept(answer(asked[0], refused), at: at(1000)).changes.count == 1)
        let new = configuration(web, servers: [one, two], kind: .tcp(port: 8080))
        let change = Reconfiguration(old: old, new: new, answered: [:], overrides: Overrides(), now: at(2000))
        #expect(change.servicesWithFreshHealth().map(\.address) == [web])
        #expect(health.reconfigure(change).isEmpty)
        #expect(health[web]?.servers[one]?.condition.isUp == false)
        #expect(health[web]?.servers[two]?.condition.isUp == true)
        #expect(health.record.statistics.isEmpty)
        let same = Reconfiguration(old: new, new: new, answered: [:], overrides: Overrides(), now: at(3000))
        #expect(same.servicesWithFreshHealth().isEmpty)
    }

    // MARK: Checks out of turn

    @Test("unanswered SYNs start connects out of turn, at least 100 ms apart")
    func outOfTurn() throws {
        var health = supervisor(configuration(web, servers: [one, two]))
        let member = ServiceMember(service: web, server: one)
        let asked = rounds(&health, at: at(1000))
        let begun = health.suspect([member: 2], at: at(1020))
        #expect(begun == [asked[0]])
        let id = asked[0]
        // The question in turn is still open.
        #expect(health.nextOutOfTurn(id)?.time == at(1100))
        _ = health.accept(answer(id, passed), at: at(1030))
        health.finish(id, at: at(1030))
        #expect(health.nextOutOfTurn(id)?.time == at(1020), "it begins at once")
        health.noteAsked(id, isOutOfTurn: true, at: at(1030))
        // After a silence, which lasts as long as the time-out, the next question follows at once.
        _ = health.accept(answer(id, silent), at: at(1730))
        health.noteOutOfTurn(id, silent)
        #expect(try #require(health.nextOutOfTurn(id)).time <= at(1730))
        // A refusal is the second failure, and takes the server down.
        health.noteAsked(id, isOutOfTurn: true, at: at(1800))
        _ = health.accept(answer(id, refused), at: at(1801))
        #expect(!health.isUp(member))
        #expect(health.nextOutOfTurn(id) == nil, "it is out")
    }

    @Test("silence that is shorter than 100 ms is not followed by another question sooner")
    func shortTimeout() {
        var health = supervisor(configuration(web, servers: [one]))
        let id = rounds(&health, at: at(1000))[0]
        _ = health.accept(answer(id, passed), at: at(1001))
        health.finish(id, at: at(1001))
        #expect(health.suspect([ServiceMember(service: web, server: one): 2], at: at(2000)) == [id])
        health.noteAsked(id, isOutOfTurn: true, at: at(2000))
        _ = health.accept(answer(id, silent), at: at(2010))
        health.noteOutOfTurn(id, silent)
        #expect(health.nextOutOfTurn(id)?.time == at(2100))
    }

    @Test("a refusal is not followed by another question within 100 ms")
    func distance() {
        var health = supervisor(configuration(web, servers: [one, two]))
        let member = ServiceMember(service: web, server: one)
        let asked = rounds(&health, at: at(1000))
        for id in asked {
            _ = health.accept(answer(id, passed), at: at(1001))
            health.finish(id, at: at(1001))
        }
        #expect(health.suspect([member: 2], at: at(2000)) == [asked[0]])
        #expect(health.nextOutOfTurn(asked[0])?.time == at(2000))
        health.noteAsked(asked[0], isOutOfTurn: true, at: at(2000))
        _ = health.accept(answer(asked[0], refused), at: at(2090))
        health.noteOutOfTurn(asked[0], refused)
        #expect(health.isUp(member))
        #expect(health.nextOutOfTurn(asked[0])?.time == at(2190))
        health.noteOutOfTurn(asked[0], passed)
        #expect(health.nextOutOfTurn(asked[0]) == nil)
        // The fast interval of 300 ms is not over before 2,300 ms.
        #expect(health.suspect([member: 9], at: at(2299)).isEmpty)
        #expect(health.suspect([member: 9], at: at(2300)) == [asked[0]])
    }

    @Test("checks that speak a protocol keep their pace")
    func protocols() {
        var configuration = configuration(web, servers: [one])
        configuration.services[0].checks = .listed([
            ServiceCheck(.http(HTTPCheck(port: 80))), ServiceCheck(.echo(EchoCheck())),
        ])
        var health = supervisor(configuration)
        let begun = health.suspect([ServiceMember(service: web, server: one): 5], at: at(1000))
        #expect(begun.compactMap { health.round($0)?.probe } == [.ping])
    }
}
