import Addresses
import LoadBalancing
import TestSupport
import Testing

@testable import HealthChecks

/// The state of a service, with a clock that the tests set.
struct ServiceStateTests {
    let one = IPAddress(0x0A00_0001)
    let two = IPAddress(0x0A00_0002)
    let three = IPAddress(0x0A00_0003)
    let sorry = IPAddress(0x0A00_0063)
    let start = ContinuousClock.now
    let web = Probe.tcp(port: 80)
    let damped = ServicePolicy(flapDamping: .seconds(60))

    func at(_ seconds: Double) -> ContinuousClock.Instant { start + .milliseconds(Int(seconds * 1000)) }

    /// Returns a service in which one success brings a server up, and one failure takes it down.
    func state(
        _ policy: ServicePolicy, weights: [UInt16] = [1, 1, 1], down: Set<IPAddress> = []
    ) -> ServiceState {
        ServiceState(
            servers: zip([one, two, three], weights).map { RealServer(address: $0, weight: $1) }, policy: policy,
            health: ServiceHealth(required: [web], rise: 1, fall: 1, initiallyDown: down), down: down, at: start)
    }

    func fail(_ server: IPAddress, _ state: inout ServiceState, _ seconds: Double) -> [HealthTransition] {
        state.record(.failure("refused"), of: web, on: server, at: at(seconds)).transitions
    }

    func pass(_ server: IPAddress, _ state: inout ServiceState, _ seconds: Double) -> [HealthTransition] {
        state.record(.success, of: web, on: server, at: at(seconds)).transitions
    }

    // MARK: Up and down

    @Test("every change is one transition")
    func everyChangeIsToldOnce() {
        var state = state(ServicePolicy())
        #expect(pass(one, &state, 0).isEmpty)
        #expect(fail(one, &state, 1) == [.serverDown(one, reason: "refused")])
        #expect(fail(one, &state, 2).isEmpty)
        #expect(state.effectiveWeight(of: one)?.standing == .down)
        #expect(state.numberUp == 2)
        #expect(state.servers[one]?.since == at(1))
        #expect(pass(one, &state, 3) == [.serverUp(one)])
        #expect(state.servers[one]?.reason == nil)
        #expect(state.effectiveWeight(of: one)?.weight == 1)
    }

    @Test("a result without a change has no transition and no new weights")
    func resultsThatChangeNothingAskForNothing() {
        var state = state(ServicePolicy())
        for second in 0..<10 {
            let changes = state.record(.success, of: web, on: one, at: at(Double(second)))
            #expect(!changes.hasNewWeights)
            #expect(changes.transitions.isEmpty)
            #expect(!state.isTimed)
        }
        #expect(!state.record(.success, of: .ping, on: one, at: at(11)).hasNewWeights, "the probe is not required")
        #expect(!state.record(.success, of: web, on: sorry, at: at(11)).hasNewWeights, "the server is unknown")
    }

    @Test("a check sets the weight that it requests")
    func checksSetWeights() {
        var state = state(ServicePolicy())
        let changes = state.record(.success, of: web, on: one, weight: 7, at: at(1))
        #expect(changes.transitions == [.weight(one, 7, before: 1)])
        #expect(changes.hasNewWeights)
        #expect(state.effectiveWeight(of: one)?.weight == 7)
        #expect(state.usableWeight == 9)
        #expect(
            state.record(.success, of: web, on: one, weight: 0, at: at(2)).transitions
                == [.weight(one, 0, before: 7)])
        #expect(state.usableWeight == 2)
        // A failed check requests no weight. A passed check without a weight ends the last request.
        _ = fail(one, &state, 3)
        #expect(pass(one, &state, 4) == [.weight(one, 1, before: 0), .serverUp(one)])
    }

    @Test("an inhibited server that is down stays with weight 0")
    func inhibitedServersStayWithWeightZero() {
        var state = state(ServicePolicy(inhibits: true))
        _ = fail(one, &state, 1)
        #expect(state.effectiveWeight(of: one)?.standing == .listed)
        #expect(state.effectiveWeight(of: one)?.weight == 0)
        #expect(state.usableWeight == 2)
    }

    @Test("an unproven server serves without counting for the quorum")
    func unprovenServersServeAndDoNotCount() {
        var state = ServiceState(
            servers: [one, two].map { RealServer(address: $0, weight: 1) }, policy: ServicePolicy(sorryServer: sorry),
            health: ServiceHealth(required: [.ping], implied: [.ping], rise: 1, fall: 1), at: start)
        func ping(_ server: IPAddress, _ result: ProbeResult, _ second: Double) -> [HealthTransition] {
            state.record(result, of: .ping, on: server, at: at(second)).transitions
        }
        #expect(state.usableWeight == 2)
        #expect(state.quorum.isUp)
        #expect(ping(one, .failure("silent"), 1) == [.serverUnproven(one, reason: "silent")])
        #expect(state.usableWeight == 1)
        #expect(state.servers[one]?.reason == "silent")
        #expect(
            ping(two, .failure("silent"), 1) == [.serverUnproven(two, reason: "silent"), .quorumLost(weight: 0)])
        #expect(ping(two, .failure("silent"), 2).isEmpty)
        // The servers serve by their weights, and the sorry server does not serve. One of the two servers may be
        // drained.
        #expect(state.effectiveWeight(of: one) == .listed(weight: 1))
        #expect(!state.isReplaced)
        #expect(state.numberUp == 2)
        #expect(state.keepsQuorum(without: [one]))
        #expect(!state.keepsQuorum(without: [one, two]))
        var drained = state
        #expect(drained.shortfall(without: one) == nil)
        _ = drained.setDrained([one], at: at(3))
        #expect(drained.shortfall(without: two) == 0)
        #expect(drained.shortfall(without: one) == nil)
        #expect(
            ping(two, .success, 3) == [.serverDown(one, reason: "silent"), .quorumRegained(weight: 1)])
        #expect(state.effectiveWeight(of: one)?.standing == .down)
        #expect(state.servers[two]?.reason == nil)
        #expect(ping(two, .failure("gone"), 4).contains(.sorryServer(sorry, serves: true)))
        #expect(state.isReplaced)
    }

    @Test("servers that an implied ping had all taken out come back after a take-over")
    func serversThatAnImpliedPingTookOutServe() {
        func state(down: Set<IPAddress>) -> ServiceState {
            ServiceState(
                servers: [one, two].map { RealServer(address: $0, weight: 1) }, policy: ServicePolicy(),
                health: ServiceHealth(
                    required: [.ping], implied: [.ping], rise: 2, fall: 2, servers: [one, two], initiallyDown: down),
                down: down, at: start)
        }
        var all = state(down: [one, two])
        let transitions = all.record(.failure("silent"), of: .ping, on: one, at: at(1)).transitions
        #expect(transitions == [.serverUp(one), .serverUnproven(one, reason: "silent")])
        #expect(all.effectiveWeight(of: one) == .listed(weight: 1))
        #expect(all.usableWeight == 0)
        #expect(all.servers[one]?.reason == "silent")
        // The server has to prove itself if another server was up.
        var some = state(down: [one])
        #expect(some.record(.failure("silent"), of: .ping, on: one, at: at(1)).transitions.isEmpty)
        #expect(some.effectiveWeight(of: one)?.standing == .down)
    }

    // MARK: Slow start

    @Test("the share of a returning server grows in ten steps")
    func sharesGrowInTenSteps() {
        var state = state(ServicePolicy(slowStart: .seconds(9)), weights: [4, 4, 4])
        #expect(state.effectiveWeight(of: one)?.tenths == 10, "a new service has no slow start")
        _ = fail(one, &state, 1)
        #expect(!state.isTimed)
        _ = pass(one, &state, 10)
        #expect(state.isTimed)
        #expect(state.wholeShare(of: one) == at(19))
        var seen: [Int] = []
        for tenth in 0...100 {
            let changes = state.advance(to: at(10 + Double(tenth) / 10))
            let tenths = state.effectiveWeight(of: one)?.tenths ?? 0
            #expect(changes.hasNewWeights == (seen.last ?? 1 != tenths))
            #expect(changes.transitions.isEmpty)
            if seen.last != tenths { seen.append(tenths) }
            if tenth == 0 { #expect(tenths == 1) }
            if tenth == 45 {
                #expect(tenths == 5)
                #expect(state.effectiveWeight(of: one)?.shown == 2)
            }
            if tenth == 89 { #expect(tenths == 9) }
        }
        #expect(seen == Array(1...10))
        #expect(!state.isTimed)
        #expect(state.wholeShare(of: one) == nil)
        // During a slow start, the whole weight counts for the quorum.
        #expect(state.usableWeight == 12)
    }

    @Test("a slow start begins anew after a fall")
    func aSlowStartThatFailsBeginsAnew() {
        var state = state(ServicePolicy(slowStart: .seconds(9)))
        _ = fail(one, &state, 1)
        _ = pass(one, &state, 2)
        _ = state.advance(to: at(8))
        #expect(state.effectiveWeight(of: one)?.tenths == 7)
        _ = fail(one, &state, 8)
        _ = state.advance(to: at(9))
        #expect(!state.isTimed)
        _ = pass(one, &state, 20)
        #expect(state.effectiveWeight(of: one)?.tenths == 1)
    }

    /// A new daemon does not know the time since the last step, so the present tenth begins anew.
    @Test("a slow start continues at its tenth after a take-over")
    func aSlowStartGoesOnUnderAnotherDaemon() {
        func state(_ policy: ServicePolicy) -> ServiceState {
            ServiceState(
                servers: [one, two, three].map { RealServer(address: $0) }, policy: policy,
                health: ServiceHealth(required: [web], rise: 1, fall: 1, initiallyDown: [two]), down: [two],
                starting: [one: 4, two: 4, sorry: 4], at: start)
        }
        var slow = state(ServicePolicy(slowStart: .seconds(9)))
        #expect([one, two, three].map { slow.servers[$0]?.condition.tenths } == [4, 10, 10])
        #expect(slow.isTimed)
        #expect(slow.wholeShare(of: one) == at(6))
        #expect(slow.wholeShare(of: two) == nil)
        #expect(!slow.advance(to: at(0.9)).hasNewWeights)
        _ = slow.advance(to: at(1))
        #expect(slow.effectiveWeight(of: one)?.tenths == 5)
        _ = slow.advance(to: at(6))
        #expect(slow.effectiveWeight(of: one)?.tenths == 10)
        #expect(!slow.isTimed)
        #expect(!state(ServicePolicy()).isTimed, "it has no slow start any more")
    }

    @Test("a server starts slowly when its drain ends")
    func undrainedServersStartSlowly() {
        var state = state(ServicePolicy(slowStart: .seconds(9)), down: [two])
        _ = state.setDrained([one, two], at: at(1))
        #expect(!state.isTimed)
        _ = state.setDrained([], at: at(5))
        #expect(state.effectiveWeight(of: one)?.tenths == 1)
        #expect(state.wholeShare(of: one) == at(14))
        #expect(state.wholeShare(of: two) == nil, "it is down")
        #expect(state.effectiveWeight(of: three)?.tenths == 10, "it was not drained")
        _ = state.advance(to: at(14))
        #expect(state.effectiveWeight(of: one)?.tenths == 10)
        #expect(!state.isTimed)
    }

    @Test("a drained server starts slowly only when its drain ends")
    func aServerThatIsDrainedStartsSlowlyOnlyOnceItIsUndrained() {
        var state = state(ServicePolicy(slowStart: .seconds(9)))
        _ = fail(one, &state, 1)
        _ = pass(one, &state, 2)
        _ = state.setDrained([one], at: at(4))
        #expect(!state.isTimed)
        #expect(state.wholeShare(of: one) == nil)
        #expect(state.effectiveWeight(of: one)?.shown == 0)
        // The server falls and comes back during the drain.
        _ = fail(one, &state, 5)
        _ = pass(one, &state, 6)
        #expect(!state.isTimed)
        #expect(state.wholeShare(of: one) == nil)
        _ = state.setDrained([], at: at(20))
        #expect(state.effectiveWeight(of: one)?.tenths == 1)
        #expect(state.wholeShare(of: one) == at(29))
    }

    @Test("a new server of a running service starts slowly")
    func newServersStartSlowlyAndOldOnesAreLeftAlone() {
        var state = state(ServicePolicy(slowStart: .seconds(9)))
        let more = [one, two, three, sorry].map { RealServer(address: $0) }
        _ = state.reconfigure(servers: more, policy: state.policy, health: nil, asks: true, at: at(5))
        #expect(state.effectiveWeight(of: sorry)?.tenths == 1)
        #expect(state.effectiveWeight(of: one)?.tenths == 10)
        _ = state.reconfigure(servers: more, policy: ServicePolicy(), health: nil, asks: true, at: at(6))
        #expect(state.effectiveWeight(of: sorry)?.tenths == 10)
    }

    @Test("a server without checks comes back with a transition")
    func whatIsNoLongerCheckedComesBackAndIsTold() {
        func unchecked(_ state: inout ServiceState, _ seconds: Double) -> [HealthTransition] {
            state.reconfigure(
                servers: [one, two, three].map { RealServer(address: $0) }, policy: state.policy,
                health: ServiceHealth(required: [], rise: 1, fall: 1), asks: false, at: at(seconds)
            ).transitions
        }
        var slow = state(ServicePolicy(slowStart: .seconds(9)))
        _ = fail(one, &slow, 1)
        #expect(unchecked(&slow, 5) == [.serverUp(one)])
        #expect(slow.servers[one]?.isGood == true)
        #expect(slow.servers[one]?.reason == nil)
        #expect(slow.wholeShare(of: one) == at(14))
        var held = state(damped)
        for fall in 0..<3 {
            _ = self.fail(one, &held, Double(fall * 2))
            _ = pass(one, &held, Double(fall * 2 + 1))
        }
        #expect(held.servers[one]?.heldUntil != nil)
        #expect(unchecked(&held, 7) == [.serverUp(one)])
        #expect(held.servers[one]?.heldUntil == nil)
        #expect(held.servers[one]?.reason == nil)
        #expect(!held.isTimed)
    }

    // MARK: Quorum

    @Test("the sorry server serves while the quorum is lost")
    func theSorryServerServesWhileTheQuorumIsLost() {
        var state = state(ServicePolicy(quorum: Quorum.Rule(required: 2), sorryServer: sorry))
        #expect(fail(one, &state, 1) == [.serverDown(one, reason: "refused")])
        #expect(!state.isReplaced)
        #expect(
            fail(two, &state, 2) == [
                .serverDown(two, reason: "refused"), .quorumLost(weight: 1), .sorryServer(sorry, serves: true),
            ])
        #expect(state.isReplaced)
        #expect(state.effectiveWeight(of: three)?.standing == .standby)
        #expect(state.effectiveWeight(of: two)?.standing == .down)
        #expect(
            pass(one, &state, 3) == [
                .serverUp(one), .quorumRegained(weight: 2), .sorryServer(sorry, serves: false),
            ])
        #expect(state.effectiveWeight(of: three)?.standing == .listed)
    }

    @Test("the hysteresis of a quorum is keepalived's")
    func hysteresisIsKeepalivedsOne() {
        var state = state(ServicePolicy(quorum: Quorum.Rule(required: 4, hysteresis: 1)), weights: [2, 2, 2])
        #expect(state.quorum.isUp)
        #expect(fail(one, &state, 1).count == 1, "4 is no less than 4 - 1")
        #expect(fail(two, &state, 2).last == .quorumLost(weight: 2))
        #expect(pass(two, &state, 3).count == 1, "4 is less than 4 + 1")
        #expect(!state.quorum.isUp)
        #expect(pass(one, &state, 4).last == .quorumRegained(weight: 6))
        // With the last server the quorum is lost, independent of the hysteresis.
        #expect(!Quorum(Quorum.Rule(required: 2, hysteresis: 1), wasUp: true).holds(at: 0))
        #expect(Quorum(Quorum.Rule(required: 2, hysteresis: 1), wasUp: true).holds(at: 1))
    }

    @Test("a drained server does not count for the quorum")
    func drainedServersDoNotCount() {
        var state = state(ServicePolicy(quorum: Quorum.Rule(required: 2), sorryServer: sorry))
        #expect(state.keepsQuorum(without: [one]))
        #expect(!state.keepsQuorum(without: [one, two]))
        #expect(state.setDrained([one], at: at(1)).hasNewWeights)
        #expect(state.effectiveWeight(of: one)?.standing == .listed)
        #expect(state.effectiveWeight(of: one)?.weight == 0)
        #expect(state.usableWeight == 2)
        #expect(!state.setDrained([one], at: at(2)).hasNewWeights)
        #expect(!state.keepsQuorum(without: [two]))
        #expect(state.setDrained([two, three], at: at(3)).transitions.last == .sorryServer(sorry, serves: true))
        #expect(state.setDrained([], at: at(4)).transitions.last == .sorryServer(sorry, serves: false))
    }

    @Test("a change of the sorry server is a transition")
    func aSorryServerThatChangesIsTold() {
        var state = state(ServicePolicy(sorryServer: sorry))
        for server in [one, two, three] { _ = fail(server, &state, 1) }
        #expect(state.isReplaced)
        let servers = [one, two].map { RealServer(address: $0) }
        let changes = state.reconfigure(
            servers: servers, policy: ServicePolicy(sorryServer: three), health: nil, asks: true, at: at(2))
        #expect(changes.transitions == [.sorryServer(sorry, serves: false), .sorryServer(three, serves: true)])
    }

    @Test("hysteresis continues after a take-over")
    func takesOverTheQuorum() {
        let servers = [one, two, three].map { RealServer(address: $0) }
        let policy = ServicePolicy(quorum: Quorum.Rule(required: 2, hysteresis: 1), sorryServer: sorry)
        for hadQuorum in [true, false] {
            let state = ServiceState(
                servers: servers, policy: policy,
                health: ServiceHealth(required: [web], rise: 1, fall: 1, initiallyDown: [one]), down: [one],
                hadQuorum: hadQuorum, at: start)
            #expect(state.isReplaced != hadQuorum)
        }
    }

    @Test("a quorum after a take-over depends on the present servers")
    func anInheritedQuorumIsJudgedAnew() {
        func inherited(_ required: Int, hadQuorum: Bool, drained: Set<IPAddress> = []) -> ServiceState {
            ServiceState(
                servers: [one, two].map { RealServer(address: $0) },
                policy: ServicePolicy(quorum: Quorum.Rule(required: required), sorryServer: sorry),
                health: ServiceHealth(required: [web], rise: 1, fall: 1), drained: drained, hadQuorum: hadQuorum,
                at: start)
        }
        let recovered = inherited(2, hadQuorum: false)
        #expect(!recovered.isReplaced)
        #expect(recovered.beginnings.isEmpty)
        #expect(recovered.effectiveWeight(of: one)?.standing == .listed)
        let raised = inherited(3, hadQuorum: true)
        #expect(raised.isReplaced)
        #expect(raised.beginnings == [.quorumLost(weight: 2), .sorryServer(sorry, serves: true)])
        var drained = inherited(2, hadQuorum: true, drained: [two])
        #expect(drained.isReplaced)
        #expect(drained.usableWeight == 1)
        #expect(drained.beginnings == [.quorumLost(weight: 1), .sorryServer(sorry, serves: true)])
        #expect(drained.setDrained([two], at: at(1)).transitions.isEmpty, "there is one transition")
        #expect(
            drained.setDrained([], at: at(2)).transitions
                == [.quorumRegained(weight: 2), .sorryServer(sorry, serves: false)])
    }

    /// A result changes its own server, without a pass over all others.
    @Test("the cost of a result does not depend on the number of servers")
    func resultsCostTheSameWithTenThousandServers() {
        func cost(servers count: UInt32) -> Duration {
            let addresses = (0..<count).map { IPAddress(0x0A00_0000 + $0) }
            var state = ServiceState(
                servers: addresses.map { RealServer(address: $0) },
                policy: ServicePolicy(flapDamping: .seconds(1), quorum: Quorum.Rule(required: 1)),
                health: ServiceHealth(required: [web], rise: 1, fall: 1), at: start)
            var best = Duration.seconds(3600)
            for round in 0..<5 {
                let before = ContinuousClock.now
                for number in 0..<2000 {
                    let server = addresses[number * 7 % addresses.count]
                    let result: ProbeResult = number % 5 == round ? .failure("no") : .success
                    _ = state.record(result, of: web, on: server, at: at(Double(round)))
                }
                best = min(best, before.duration(to: .now))
            }
            return best
        }
        let (few, many) = (cost(servers: 20), cost(servers: 10_000))
        #expect(many < few * 10, "\(few) with 20, \(many) with 10,000")
    }

    // MARK: All of it together

    /// The model computes everything anew after each step.
    @Test("random changes have the same result as in a naive model")
    func againstANaiveModel() {
        var random = SplitMix(seed: 2439)
        let servers = [one, two, three]
        for _ in 0..<200 {
            let policy = ServicePolicy(
                inhibits: .random(using: &random),
                slowStart: Bool.random(using: &random) ? .seconds(.random(in: 1...30, using: &random)) : nil,
                flapDamping: Bool.random(using: &random) ? .seconds(.random(in: 1...30, using: &random)) : nil,
                quorum: Quorum.Rule(
                    required: .random(in: 2...5, using: &random), hysteresis: .random(in: 0...1, using: &random)),
                sorryServer: Bool.random(using: &random) ? sorry : nil)
            let weights = (0..<3).map { _ in UInt16.random(in: 0...3, using: &random) }
            var state = state(policy, weights: weights)
            var isUp = Dictionary(uniqueKeysWithValues: servers.map { ($0, true) })
            var asked: [IPAddress: UInt16] = [:]
            var drained: Set<IPAddress> = []
            let whole = weights.reduce(0) { $0 + Int($1) }
            var hadQuorum = whole >= policy.quorum.required + policy.quorum.hysteresis
            var sorryServes = policy.sorryServer != nil && !hadQuorum
            var now = 0.0
            for _ in 0..<100 {
                now += Double.random(in: 0...3, using: &random)
                let server = servers.randomElement(using: &random) ?? one
                let before = servers.map { state.effectiveWeight(of: $0) }
                let changes: ServiceState.Changes
                switch Int.random(in: 0..<10, using: &random) {
                case 0:
                    drained = Set(servers.filter { _ in Bool.random(using: &random) })
                    changes = state.setDrained(drained, at: at(now))
                case 1...2: changes = state.advance(to: at(now))
                case 3...6:
                    let weight = Bool.random(using: &random) ? UInt16.random(in: 0...3, using: &random) : nil
                    changes = state.record(.success, of: web, on: server, weight: weight, at: at(now))
                    asked[server] = weight
                default: changes = state.record(.failure("no"), of: web, on: server, at: at(now))
                }
                // The transitions alone determine which servers are up, and whether the sorry server serves.
                for transition in changes.transitions {
                    switch transition {
                    case .serverUp(let server):
                        #expect(isUp[server] == false)
                        isUp[server] = true
                    case .serverDown(let server, _):
                        #expect(isUp[server] == true)
                        isUp[server] = false
                    case .quorumLost, .quorumRegained: hadQuorum.toggle()
                    case .sorryServer(_, let serves): sorryServes = serves
                    case .serverHeld(let server, let time):
                        #expect(isUp[server] == false)
                        #expect(time <= (policy.flapDamping ?? .zero) * 4)
                    case .serverUnproven: Issue.record("no probe is implied here")
                    case .weight(let server, let weight, _):
                        #expect(weight == asked[server] ?? weights[servers.firstIndex(of: server) ?? 0])
                    }
                }
                var sum = 0
                for (index, server) in servers.enumerated() {
                    let weight = asked[server] ?? weights[index]
                    let effective = state.effectiveWeight(of: server)
                    #expect(state.servers[server]?.condition.isUp == isUp[server])
                    if isUp[server] == true, !drained.contains(server) { sum += Int(weight) }
                    let standing: EffectiveWeight.Standing =
                        isUp[server] == false && !policy.inhibits ? .down : sorryServes ? .standby : .listed
                    #expect(effective?.standing == standing)
                    let counts = isUp[server] == true && !drained.contains(server) && standing == .listed
                    #expect(effective?.weight == (counts ? weight : 0))
                    #expect((1...10).contains(effective?.tenths ?? 0))
                }
                #expect(state.usableWeight == sum)
                #expect(sorryServes == (policy.sorryServer != nil && !hadQuorum))
                let threshold = policy.quorum.required + (hadQuorum ? -1 : 1) * policy.quorum.hysteresis
                #expect(hadQuorum == (sum > 0 && sum >= threshold), "\(sum), \(policy.quorum)")
                // The service can do without every held server.
                for server in servers where state.servers[server]?.heldUntil != nil {
                    #expect(sum > 0)
                    #expect(sum >= policy.quorum.required)
                    #expect(hadQuorum)
                }
                if servers.map({ state.effectiveWeight(of: $0) }) != before { #expect(changes.hasNewWeights) }
            }
        }
    }
}
