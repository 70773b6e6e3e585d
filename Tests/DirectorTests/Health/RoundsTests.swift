import Addresses
import DataPlane
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

/// What is asked of whom, and who shares it.
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

    /// However a service says it.
    @Test func theSameQuestionIsOneRound() {
        let tcp = policy(.tcp(port: 8080), questions: [.tcp(port: 8080)])
        let ping = policy(.ping, questions: [.ping])
        #expect(tcp.count == 1 && ping.count == 1)
        #expect(listed(ServiceCheck(.tcp(TCPCheck(port: 8080))), ServiceCheck(.echo(EchoCheck()))) == tcp + ping)
        let others = [
            listed(ServiceCheck(.tcp(TCPCheck(port: 8081)))),
            listed(ServiceCheck(.tcp(TCPCheck(port: 8080)), via: .both)),
            listed(ServiceCheck(.tcp(TCPCheck(port: 8080)), via: .direct)),
            listed(ServiceCheck(.tcp(TCPCheck(port: 8080)), pace: CheckPace(interval: .seconds(2)))),
            listed(ServiceCheck(.tcp(TCPCheck(port: 8080)), pace: CheckPace(timeout: .milliseconds(500)))),
        ]
        #expect(Set(others.joined() + tcp).count == 6)
        // What each judges by its own.
        #expect(listed(ServiceCheck(.tcp(TCPCheck(port: 8080)), pace: CheckPace(rise: 5, fall: 7))) == tcp)
        #expect(policy(.none, questions: [.ping]).isEmpty)
    }

    @Test func whoAsksTheSameSharesIt() {
        var rounds = Rounds(origin: start)
        let round = policy(.tcp(port: 8080), questions: [.tcp(port: 8080)])[0]
        #expect(rounds.update(to: [(round, target(80)), (round, target(443))], at: start).isEmpty)
        #expect(rounds.ids.count == 1)
        let due = rounds.takeDue(at: start + .seconds(5))
        #expect(due == rounds.ids(of: target(80)) && due == rounds.ids(of: target(443)))
        #expect(rounds[due[0]]?.targets == [target(80), target(443)])
        // One goes, and the other one's turn is what it was.
        #expect(rounds.update(to: [(round, target(443))], at: start).isEmpty)
        #expect(rounds.ids(of: target(80)).isEmpty && rounds.ids(of: target(443)) == due)
        #expect(rounds[due[0]]?.targets == [target(443)])
        #expect(rounds.nextDue == nil)
        rounds.finish(due[0], isInTransition: false, at: start)
        #expect(rounds.nextDue != nil)
        #expect(rounds.update(to: [], at: start) == Set(due))
        #expect(rounds[due[0]] == nil && rounds.ids.isEmpty && rounds.ids(of: target(443)).isEmpty)
        #expect(rounds.takeDue(at: start + .seconds(60)).isEmpty)
        // It is another one when it comes back: answers to the old one are nobody's.
        #expect(rounds.update(to: [(round, target(443))], at: start).isEmpty)
        #expect(rounds.ids.count == 1 && rounds.ids.isDisjoint(with: due))
    }

    @Test func newOnesBeginInTheOrderGiven() {
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
