import Addresses
import DataPlane
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

/// The rounds of services, and the members that share them.
struct RoundsTests {
    private let vip = IPAddress(0x0A00_0064)
    private let server = IPAddress(0x0A00_000B)
    private let start = ContinuousClock.now

    private func target(_ port: UInt16, _ server: UInt32 = 0x0A00_000B) -> ServiceMember {
        ServiceMember(service: ServiceAddress(vip: vip, port: port, transport: .tcp), server: IPAddress(server))
    }

    private func policy(_ kind: CheckPolicy.Kind, questions: Set<Probe>) -> [Round] {
        Round.all(of: server, vip: vip, checks: .policy(CheckPolicy(kind: kind)), questions: questions)
    }

    private func listed(_ checks: ServiceCheck...) -> [Round] {
        Round.all(of: server, vip: vip, checks: .listed(checks), questions: [])
    }

    @Test("equal checks are equal rounds, whether a policy or a list has them")
    func theSameQuestionIsOneRound() {
        let tcp = policy(.tcp(port: 8080), questions: [.tcp(port: 8080)])
        let ping = policy(.ping, questions: [.ping])
        #expect(tcp.count == 1)
        #expect(ping.count == 1)
        #expect(listed(ServiceCheck(.tcp(TCPCheck(port: 8080))), ServiceCheck(.echo(EchoCheck()))) == tcp + ping)
        let others = [
            listed(ServiceCheck(.tcp(TCPCheck(port: 8081)))),
            listed(ServiceCheck(.tcp(TCPCheck(port: 8080)), via: .both)),
            listed(ServiceCheck(.tcp(TCPCheck(port: 8080)), via: .direct)),
            listed(ServiceCheck(.tcp(TCPCheck(port: 8080)), pace: CheckPace(interval: .seconds(2)))),
            listed(ServiceCheck(.tcp(TCPCheck(port: 8080)), pace: CheckPace(timeout: .milliseconds(500)))),
        ]
        #expect(Set(others.joined() + tcp).count == 6)
        // Rise and fall are not part of a round.
        #expect(listed(ServiceCheck(.tcp(TCPCheck(port: 8080)), pace: CheckPace(rise: 5, fall: 7))) == tcp)
        #expect(policy(.none, questions: [.ping]).isEmpty)
    }

    @Test("members with an equal round share it, and its id ends with the last member")
    func whoAsksTheSameSharesIt() {
        var rounds = Rounds(origin: start)
        let round = policy(.tcp(port: 8080), questions: [.tcp(port: 8080)])[0]
        #expect(rounds.update(to: [(round, target(80)), (round, target(443))], at: start).isEmpty)
        #expect(rounds.ids.count == 1)
        let due = rounds.takeDue(at: start + .seconds(5))
        #expect(due == rounds.ids(of: target(80)))
        #expect(due == rounds.ids(of: target(443)))
        #expect(rounds[due[0]]?.targets == [target(80), target(443)])
        // One member is removed, and the round of the other member stays open.
        #expect(rounds.update(to: [(round, target(443))], at: start).isEmpty)
        #expect(rounds.ids(of: target(80)).isEmpty)
        #expect(rounds.ids(of: target(443)) == due)
        #expect(rounds[due[0]]?.targets == [target(443)])
        #expect(rounds.nextDue == nil)
        rounds.finish(due[0], isInTransition: false, at: start)
        #expect(rounds.nextDue != nil)
        #expect(rounds.update(to: [], at: start) == Set(due))
        #expect(rounds[due[0]] == nil)
        #expect(rounds.ids.isEmpty)
        #expect(rounds.ids(of: target(443)).isEmpty)
        #expect(rounds.takeDue(at: start + .seconds(60)).isEmpty)
        // A round that is added again has another id, so answers to the old one are ignored.
        #expect(rounds.update(to: [(round, target(443))], at: start).isEmpty)
        #expect(rounds.ids.count == 1)
        #expect(rounds.ids.isDisjoint(with: due))
    }

    @Test("new rounds begin in the given order")
    func newOnesBeginInTheOrderGiven() {
        var rounds = Rounds(origin: start)
        let wanted = (1...20).map { number -> (round: Round, target: ServiceMember) in
            var round = policy(.ping, questions: [.ping])[0]
            let server = 0x0A00_0000 + UInt32(21 - number)
            round.server = IPAddress(server)
            return (round, target(80, server))
        }
        #expect(rounds.update(to: wanted, at: start).isEmpty)
        var asked: [IPAddress] = []
        for step in 0..<100 {
            asked += rounds.takeDue(at: start + .milliseconds(step)).compactMap { rounds[$0]?.round.server }
        }
        #expect(asked == wanted.map(\.round.server))
    }
}
