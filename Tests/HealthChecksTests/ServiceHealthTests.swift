import Addresses
import LoadBalancing
import TestSupport
import Testing

@testable import HealthChecks

/// Required and learnt probes, and the state after a take-over.
struct ServiceHealthTests {
    private let one = IPAddress(0x0A00_0001)
    private let two = IPAddress(0x0A00_0002)
    private let web = Probe.tcp(port: 80)
    private let shell = Probe.tcp(port: 22)

    private func health(
        _ required: Set<Probe>, down: Set<IPAddress> = [], answered: [IPAddress: Set<UInt16>] = [:]
    ) -> ServiceHealth {
        ServiceHealth(required: required, rise: 2, fall: 2, initiallyDown: down, answered: answered)
    }

    private func tcp(_ ports: some Sequence<UInt16>) -> Set<Probe> { Set(ports.map { .tcp(port: $0) }) }

    @Test("a server without results is up and unproven")
    func unprovenServersAreUp() {
        let health = health([.ping])
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: false, reason: nil))
        #expect(health.isUndecided(.ping, of: one))
    }

    @Test("a server is up if every required probe is")
    func everyRequiredProbeCounts() {
        var health = health([.ping, web])
        health.record(.success, of: .ping, on: one)
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: false, reason: nil))
        health.record(.success, of: web, on: one)
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: true, reason: nil))
        #expect(!health.isUndecided(web, of: one))
        health.record(.failure("refused"), of: web, on: one)
        #expect(health.verdict(of: one).isUp)
        #expect(health.isUndecided(web, of: one))
        health.record(.failure("refused"), of: web, on: one)
        #expect(health.verdict(of: one) == .init(isUp: false, isProven: true, reason: "refused"))
        #expect(health.verdict(of: two).isUp)
        health.record(.success, of: web, on: one)
        #expect(!health.verdict(of: one).isUp)
        health.record(.success, of: web, on: one)
        #expect(health.verdict(of: one).isUp)
    }

    /// An implied ping is a default that nobody asked for. Hosts may drop pings.
    @Test("an implied probe takes no server out until it has passed on one")
    func impliedProbesProveNothingUntilOneHasPassed() {
        var health = ServiceHealth(required: [.ping], implied: [.ping], rise: 2, fall: 2)
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: false, reason: nil))
        for _ in 0..<5 {
            health.record(.failure("silent"), of: .ping, on: one)
            let changesOthers = health.record(.failure("silent"), of: .ping, on: two)
            #expect(!changesOthers)
        }
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: false, reason: "silent", counts: false))
        // A server that answers shows that pings pass. The other servers then fail for another reason.
        var changesOthers = health.record(.success, of: .ping, on: two)
        #expect(changesOthers)
        #expect(health.verdict(of: one) == .init(isUp: false, isProven: true, reason: "silent"))
        #expect(!health.verdict(of: two).isUp, "it was down, and rises by two")
        changesOthers = health.record(.success, of: .ping, on: two)
        #expect(!changesOthers)
        #expect(health.verdict(of: two) == .init(isUp: true, isProven: true, reason: nil))
        // The probe counts from then on.
        for _ in 0..<2 { health.record(.failure("silent"), of: .ping, on: two) }
        #expect(health.verdict(of: two) == .init(isUp: false, isProven: true, reason: "silent"))
    }

    @Test("a server without probes is up and unproven")
    func noProbesProveNothing() {
        #expect(health([]).verdict(of: one) == .init(isUp: true, isProven: false, reason: nil))
    }

    @Test("ports are learnt up to a limit")
    func learnsPortsUpToALimit() {
        var health = health([web])
        health.learn(ports: [80, 443, 22, 25])
        #expect(health.questions == [web, shell, .tcp(port: 25), .tcp(port: 443)])
        health.learn(ports: [22, 443, 7])
        #expect(health.questions == [web, shell, .tcp(port: 25), .tcp(port: 443), .tcp(port: 7)])
        for first in stride(from: 1000 as UInt16, to: 1100, by: 10) { health.learn(ports: Array(first..<first + 10)) }
        #expect(health.questions.count == 9)
        #expect(health.questions.contains(web))
    }

    @Test("the first ports of the list are learnt")
    func learnsTheMostRecentPortsFirst() {
        var health = health([.ping])
        health.learn(ports: Array((1...40).reversed()))
        #expect(health.questions == tcp(33...40).union([.ping]))
    }

    @Test("a port that answers keeps its place")
    func portsThatAnswerKeepTheirPlace() {
        var health = health([.ping])
        health.learn(ports: [22, 1, 2, 3, 4, 5, 6, 7])
        health.record(.success, of: shell, on: two)
        for round in 0..<10 as Range<UInt16> {
            for probe in health.questions.subtracting([.ping, shell]) {
                for server in [one, two] { health.record(.failure("refused"), of: probe, on: server) }
            }
            health.record(.failure("refused"), of: shell, on: one)
            health.record(.success, of: shell, on: two)
            #expect(!health.forget().contains(22))
            health.learn(ports: Array(30 + round * 7..<37 + round * 7))
            #expect(health.questions.contains(shell))
            #expect(health.questions.count <= 9)
        }
    }

    @Test("a port that never answered is dropped after three failures on every server")
    func forgetsPortsThatNobodyAnswers() {
        var health = health([.ping, web])
        health.learn(ports: [22, 25])
        #expect(health.forget().isEmpty)
        for round in 1...3 {
            for probe in health.questions {
                health.record(.failure("refused"), of: probe, on: one)
                // The other server gets fewer probes.
                if round > 1 { health.record(.failure("refused"), of: probe, on: two) }
            }
            #expect(health.forget().isEmpty, "\(round)")
        }
        health.record(.failure("refused"), of: shell, on: two)
        #expect(health.forget() == [22])
        #expect(health.questions == [.ping, web, .tcp(port: 25)])
        #expect(health.forget().isEmpty)
        // A required port is never dropped.
        for _ in 0..<100 { for server in [one, two] { health.record(.failure("refused"), of: web, on: server) } }
        #expect(health.forget().isEmpty)
        #expect(health.questions.contains(web))
    }

    /// The service of such a port may be restarting on all servers.
    @Test("a port that had answered is dropped after sixty failures on every server")
    func forgetsPortsThatAnsweredOnceMuchLater() {
        var health = health([.ping])
        health.learn(ports: [22])
        health.record(.success, of: shell, on: one)
        for round in 1...59 {
            for server in [one, two] { health.record(.failure("refused"), of: shell, on: server) }
            #expect(health.forget().isEmpty, "\(round)")
        }
        #expect(health.questions == [.ping, shell])
        for server in [one, two] { health.record(.failure("refused"), of: shell, on: server) }
        #expect(health.forget() == [22])
        #expect(health.questions == [.ping])
    }

    @Test("an answer restarts the count of failures")
    func anAnswerStartsThePatienceAnew() {
        var health = health([.ping])
        health.learn(ports: [22])
        for _ in 0..<3 {
            health.record(.success, of: shell, on: one)
            for _ in 0..<59 {
                for server in [one, two] { health.record(.failure("refused"), of: shell, on: server) }
            }
            #expect(health.forget().isEmpty)
        }
        for server in [one, two] { health.record(.failure("refused"), of: shell, on: server) }
        #expect(health.forget() == [22])
    }

    @Test("a port that is learnt again has no history")
    func forgottenPortsLeaveNothing() {
        var health = health([.ping])
        health.learn(ports: [22])
        for server in [one, two] {
            for _ in 0..<3 { health.record(.failure("refused"), of: shell, on: server) }
        }
        #expect(health.forget() == [22])
        health.learn(ports: [22])
        #expect(health.questions == [.ping, shell])
        for server in [one, two] {
            for _ in 0..<2 { health.record(.failure("refused"), of: shell, on: server) }
        }
        #expect(health.forget().isEmpty)
        health.record(.success, of: shell, on: one)
        #expect(health.verdict(of: one).isUp)
        #expect(health.verdict(of: two).isUp)
    }

    @Test("a learnt port takes a server out only while it answers elsewhere")
    func learntPortsCountByComparison() {
        var health = health([.ping])
        health.learn(ports: [22])
        for server in [one, two] {
            health.record(.success, of: .ping, on: server)
            health.record(.success, of: shell, on: server)
        }
        for _ in 0..<2 { health.record(.failure("refused"), of: shell, on: one) }
        #expect(health.verdict(of: one) == .init(isUp: false, isProven: true, reason: "refused"))
        #expect(health.verdict(of: two).isUp)
        // If the port stops on every server, no server is out.
        health.record(.failure("refused"), of: shell, on: two)
        #expect(health.verdict(of: one).isUp)
        #expect(health.verdict(of: two).isUp)
    }

    @Test("a port that never answered on a server does not take it out")
    func whatNeverAnsweredCannotStop() {
        var health = health([.ping])
        health.learn(ports: [22])
        health.record(.success, of: shell, on: one)
        for _ in 0..<3 { health.record(.failure("refused"), of: shell, on: two) }
        #expect(health.verdict(of: one).isUp)
        #expect(health.verdict(of: two).isUp)
    }

    @Test("a learnt port does not take the only server out")
    func aloneThereIsNoComparison() {
        var health = health([])
        health.learn(ports: [22])
        health.record(.success, of: shell, on: one)
        for _ in 0..<3 { health.record(.failure("refused"), of: shell, on: one) }
        #expect(health.verdict(of: one).isUp)
    }

    @Test("a server that was down before a take-over has to pass all probes")
    func takenOverServersProveThemselves() {
        var health = health([.ping, web], down: [one])
        #expect(!health.verdict(of: one).isUp)
        #expect(!health.verdict(of: one).isProven)
        #expect(health.verdict(of: two).isUp)
        for _ in 0..<2 { health.record(.success, of: .ping, on: one) }
        #expect(!health.verdict(of: one).isUp)
        health.record(.success, of: web, on: one)
        #expect(!health.verdict(of: one).isUp)
        health.record(.success, of: web, on: one)
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: true, reason: nil))
    }

    @Test("a server that was down before a take-over stays down by its own failure")
    func takenOverServersStayDownByTheirOwnFailure() {
        var health = health([.ping], down: [one])
        health.record(.success, of: .ping, on: one)
        health.record(.failure("silent"), of: .ping, on: one)
        health.record(.success, of: .ping, on: one)
        #expect(!health.verdict(of: one).isUp)
        health.record(.failure("silent"), of: .ping, on: one)
        #expect(health.verdict(of: one) == .init(isUp: false, isProven: true, reason: "silent"))
    }

    @Test("ports that had answered before a take-over are probed again")
    func answeredPortsAreQuestions() {
        let health = health([.ping, web], answered: [one: [22, 80], two: [25]])
        #expect(health.questions == [.ping, web, shell, .tcp(port: 25)])
        #expect(health.verdict(of: one).isUp)
        #expect(health.verdict(of: two).isUp)
    }

    /// The port does not have to answer the new daemon first.
    @Test("a port that had answered before a take-over takes a server out")
    func answeredPortsCanStop() {
        var health = health([.ping], answered: [one: [22], two: [22]])
        for _ in 0..<2 {
            health.record(.success, of: shell, on: one)
            health.record(.failure("refused"), of: shell, on: two)
        }
        #expect(health.verdict(of: one).isUp)
        #expect(health.verdict(of: two) == .init(isUp: false, isProven: true, reason: "refused"))
    }

    @Test("a port counts only on the server where it had answered")
    func portsThatAnsweredElsewhereCannotStop() {
        var health = health([.ping], answered: [one: [22]])
        for _ in 0..<3 {
            health.record(.success, of: shell, on: one)
            health.record(.failure("refused"), of: shell, on: two)
        }
        #expect(health.verdict(of: one).isUp)
        #expect(health.verdict(of: two).isUp)
    }

    /// The process of the server is dead, and its host answers pings.
    @Test("a server that was down stays down until its learnt ports answer again")
    func takenOverServersAnswerAgainWhatTheyHad() {
        var health = health([.ping], down: [one], answered: [one: [22], two: [22]])
        for _ in 0..<5 {
            for server in [one, two] { health.record(.success, of: .ping, on: server) }
            #expect(!health.verdict(of: one).isUp)
            #expect(health.verdict(of: two).isUp)
            health.record(.failure("refused"), of: shell, on: one)
            health.record(.success, of: shell, on: two)
            #expect(!health.verdict(of: one).isUp)
            #expect(health.verdict(of: two).isUp)
        }
        health.record(.success, of: shell, on: one)
        #expect(!health.verdict(of: one).isUp)
        health.record(.success, of: shell, on: one)
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: true, reason: nil))
    }

    /// A port that fails on all servers keeps such a server down, too.
    @Test("a server that was down stays down until its failing port is dropped")
    func takenOverServersStayDownWhileTheirPortIsSilent() {
        var health = health([.ping], down: [one], answered: [one: [22]])
        for round in 1...60 {
            for server in [one, two] {
                health.record(.success, of: .ping, on: server)
                health.record(.failure("refused"), of: shell, on: server)
            }
            #expect(!health.verdict(of: one).isUp)
            #expect(health.verdict(of: two).isUp)
            #expect(health.forget() == (round < 60 ? [] : [22]), "\(round)")
        }
        health.record(.success, of: .ping, on: one)
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: true, reason: nil))
    }

    @Test("a port that never answered does not keep a server down")
    func takenOverServersOweOnlyWhatTheyHad() {
        var health = health([.ping], down: [one], answered: [two: [22]])
        for _ in 0..<2 {
            health.record(.failure("refused"), of: shell, on: one)
            health.record(.success, of: .ping, on: one)
        }
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: true, reason: nil))
    }

    /// The model looks at all servers anew. Every change of another server's verdict must be reported.
    @Test("learnt ports decide as in a naive model")
    func comparisonsAgainstANaiveModel() {
        var random = SplitMix(seed: 22)
        let servers = (1...4).map { IPAddress(0x0A00_0000 + $0) }
        let ports: [UInt16] = [22, 25, 110]
        for _ in 0..<200 {
            var health = health([])
            health.learn(ports: ports)
            var model: [IPAddress: [UInt16: ProbeHealth]] = [:]
            var fallen: [IPAddress] = []
            func hasFallen(_ server: IPAddress) -> Bool {
                ports.contains { port in
                    guard let own = model[server]?[port], own.verdict == .down, own.hasAnswered else { return false }
                    if own.isSilent, ports.contains(where: { model[server]?[$0]?.verdict == .up }) { return false }
                    return servers.contains { $0 != server && model[$0]?[port]?.isSteadilyUp == true }
                }
            }
            func update() {
                fallen.removeAll { !hasFallen($0) }
                fallen += servers.filter { hasFallen($0) && !fallen.contains($0) }
            }
            func isUp(_ server: IPAddress) -> Bool { !fallen.prefix(model.count / 2).contains(server) }
            for _ in 0..<100 {
                let before = servers.map(isUp)
                let server = servers.randomElement(using: &random) ?? one
                if Int.random(in: 0..<20, using: &random) == 0 {
                    health.remove(server)
                    model[server] = nil
                    update()
                } else {
                    let port = ports.randomElement(using: &random) ?? 22
                    let results: [ProbeResult] = [.success, .success, .failure("no"), .silence("nothing")]
                    let result = results.randomElement(using: &random) ?? .success
                    model[server, default: [:]][port, default: ProbeHealth()].record(result, rise: 2, fall: 2)
                    let others = health.record(result, of: .tcp(port: port), on: server)
                    update()
                    for (other, was) in zip(servers, before) where other != server && isUp(other) != was {
                        #expect(others, "an unreported change of another server")
                    }
                }
                for server in servers { #expect(health.verdict(of: server).isUp == isUp(server)) }
            }
        }
    }

    @Test("ports from before a take-over count for the limit")
    func answeredPortsFillTheLimit() {
        var health = health([.ping], answered: [one: Set(1...5), two: Set(5...8)])
        health.learn(ports: [22])
        #expect(health.questions == tcp(1...8).union([.ping]))
    }

    // MARK: Learnt ports that are only silent

    /// Returns the health of servers that have all answered the ping and port 22.
    private func learntHealth(_ servers: [IPAddress]) -> ServiceHealth {
        var health = health([.ping])
        health.learn(ports: [22, 25])
        for server in servers {
            for probe in [.ping, shell] { health.record(.success, of: probe, on: server) }
        }
        return health
    }

    /// Idle connections can fill the backlog of a tool that serves one client at a time.
    @Test("a silent learnt port does not take a server out that answers another probe")
    func aSilentPortOfAServerThatAnswersIsNoFault() {
        var health = learntHealth([one, two])
        for _ in 0..<9 { health.record(.silence("timed out"), of: shell, on: one) }
        #expect(health.verdict(of: one) == .init(isUp: true, isProven: true, reason: nil))
        // The first answer does not bring the port up yet, but does not take the server out either.
        health.record(.success, of: shell, on: one)
        #expect(health.verdict(of: one).isUp)
        // A refusal takes the server out at once, as the port has failed often enough.
        health.record(.failure("refused"), of: shell, on: one)
        #expect(health.verdict(of: one) == .init(isUp: false, isProven: true, reason: "refused"))
        // Silence after a refusal does not bring the server back.
        for _ in 0..<9 { health.record(.silence("timed out"), of: shell, on: one) }
        #expect(!health.verdict(of: one).isUp)
    }

    @Test("a silent learnt port takes a silent server out")
    func aSilentPortOfASilentServerIsAFault() {
        var health = learntHealth([one, two])
        for _ in 0..<2 { health.record(.silence("timed out"), of: .ping, on: one) }
        #expect(health.verdict(of: one) == .init(isUp: false, isProven: true, reason: "timed out"))
        // Without required probes, the port alone decides.
        var alone = self.health([])
        alone.learn(ports: [22, 25])
        for server in [one, two] { alone.record(.success, of: shell, on: server) }
        for _ in 0..<2 { alone.record(.silence("timed out"), of: shell, on: one) }
        #expect(!alone.verdict(of: one).isUp)
        alone.record(.success, of: .tcp(port: 25), on: one)
        #expect(alone.verdict(of: one).isUp, "another learnt port answers")
    }

    @Test("a silent learnt port does not keep a server down")
    func takenOverServersDoNotOweASilentPort() {
        var health = health([.ping], down: [one], answered: [one: [22], two: [22]])
        for _ in 0..<2 {
            health.record(.success, of: shell, on: two)
            health.record(.silence("timed out"), of: shell, on: one)
            #expect(!health.verdict(of: one).isUp)
            health.record(.success, of: .ping, on: one)
        }
        #expect(health.verdict(of: one).isUp)
    }

    @Test("learnt ports take out half of the servers at most")
    func learntPortsTakeOutHalfOfTheServersAtMost() {
        let servers = (1...5).map { IPAddress(0x0A00_0000 + $0) }
        var health = learntHealth(servers)
        for server in servers.dropLast() {
            for _ in 0..<2 { health.record(.failure("refused"), of: shell, on: server) }
        }
        func out() -> [IPAddress] { servers.filter { !health.verdict(of: $0).isUp } }
        #expect(out() == [servers[0], servers[1]])
        // A server that comes back makes room for the next one.
        health.record(.success, of: shell, on: servers[0])
        #expect(out() == [servers[0], servers[1]])
        let changesOthers = health.record(.success, of: shell, on: servers[0])
        #expect(changesOthers)
        #expect(out() == [servers[1], servers[2]])
        // Servers that fail a required probe do not count for the half.
        for _ in 0..<2 { health.record(.silence("timed out"), of: .ping, on: servers[1]) }
        #expect(out() == [servers[1], servers[2], servers[3]])
    }
}
