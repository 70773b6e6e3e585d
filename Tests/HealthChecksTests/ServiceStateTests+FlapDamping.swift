import Addresses
import FoundationEssentials
import LoadBalancing
import Testing

@testable import HealthChecks

/// Flap damping of a service, with a clock that the tests set.
extension ServiceStateTests {
    @Test("the third fall in quick succession holds a server out")
    func theThirdFallInQuickSuccessionHoldsAServerOut() {
        var state = state(damped)
        #expect(fail(one, &state, 1).count == 1)
        #expect(pass(one, &state, 2) == [.serverUp(one)])
        #expect(fail(one, &state, 3).count == 1)
        #expect(pass(one, &state, 4) == [.serverUp(one)])
        _ = fail(one, &state, 5)
        let transitions = pass(one, &state, 6)
        guard case .serverHeld(one, let time) = transitions.first, transitions.count == 1 else {
            Issue.record("\(transitions)")
            return
        }
        // A penalty of nearly three decays to 0.75 in nearly two half-lives.
        #expect((.seconds(105) ... .seconds(120)).contains(time), "\(time)")
        #expect(pass(one, &state, 7).isEmpty, "there is one transition")
        #expect(state.effectiveWeight(of: one)?.standing == .down)
        #expect(state.servers[one]?.heldUntil == at(6) + time)
        #expect(state.advance(to: at(5.9) + time).transitions.isEmpty)
        #expect(state.advance(to: at(6.1) + time).transitions == [.serverUp(one)])
        #expect(state.servers[one]?.heldUntil == nil)
        #expect(!state.isTimed)
    }

    /// The state passes through JSON, as after a kill -9.
    @Test("flap damping continues after a take-over")
    func aDaemonThatTakesOverKnowsOfFalls() throws {
        func takenOver(_ former: ServiceState, down: Set<IPAddress>, _ seconds: Double) throws -> ServiceState {
            let written = try JSONEncoder().encode(former.damping)
            return ServiceState(
                servers: [one, two, three].map { RealServer(address: $0) }, policy: former.policy,
                health: ServiceHealth(required: [web], rise: 1, fall: 1, initiallyDown: down), down: down,
                damping: try JSONDecoder().decode([IPAddress: FlapDamping].self, from: written), at: at(seconds))
        }
        var first = state(damped)
        #expect(first.damping.isEmpty)
        for second in [1.0, 3] {
            #expect(first.record(.failure("refused"), of: web, on: one, at: at(second)).hasNewDamping)
            #expect(pass(one, &first, second + 1) == [.serverUp(one)])
        }
        var second = try takenOver(first, down: [], 5)
        #expect(fail(one, &second, 6).count == 1)
        guard case .serverHeld(one, let time) = pass(one, &second, 7).first else {
            Issue.record("its first two falls are forgotten")
            return
        }
        // A server that is already held out stays held out.
        var third = try takenOver(second, down: [one], 8)
        #expect(pass(one, &third, 9) == [.serverHeld(one, for: time - .seconds(2))])
        #expect(third.advance(to: at(7.1) + time).transitions == [.serverUp(one)])
        // A time in the future is limited to the present.
        var early = try takenOver(second, down: [one], 0)
        guard case .serverHeld(one, let longest) = pass(one, &early, 0).first else {
            Issue.record("it is not held out any more")
            return
        }
        #expect(longest <= .seconds(240))
        #expect(try takenOver(state(ServicePolicy()), down: [], 0).damping.isEmpty)
    }

    @Test("every further fall extends the hold, up to four half-lives")
    func everyFurtherFallHoldsItLonger() {
        var state = state(damped)
        var held: [Duration] = []
        for fall in 0..<40 {
            let now = Double(fall * 2)
            _ = fail(one, &state, now)
            for case .serverHeld(_, let time) in pass(one, &state, now + 1) { held.append(time) }
        }
        #expect(held.count == 38)
        for (shorter, longer) in zip(held, held.dropFirst()) { #expect(longer >= shorter - .milliseconds(1)) }
        #expect((.seconds(200) ... .seconds(240)).contains(held.last ?? .zero), "\(held)")
    }

    @Test("rare falls do not hold a server out")
    func calmIsForgiven() {
        var state = state(damped)
        for fall in 0..<20 {
            // With a fall every two half-lives, the penalty never exceeds 4/3.
            #expect(fail(one, &state, Double(fall * 120)).count == 1)
            #expect(pass(one, &state, Double(fall * 120 + 1)) == [.serverUp(one)])
        }
    }

    @Test("a server is not held out if the service needs it")
    func theLastServersAreNeverHeldOut() {
        var state = state(damped)
        for fall in 0..<5 {
            _ = fail(one, &state, Double(fall * 2))
            _ = pass(one, &state, Double(fall * 2 + 1))
        }
        #expect(state.servers[one]?.heldUntil != nil)
        // With one server left, the held server is needed.
        #expect(fail(two, &state, 20) == [.serverDown(two, reason: "refused"), .serverUp(one)])
        #expect(state.servers[one]?.heldUntil == nil)
        // A server that would be the second of three is not held out either.
        for fall in 0..<5 {
            _ = fail(one, &state, Double(30 + fall * 2))
            #expect(pass(one, &state, Double(31 + fall * 2)) == [.serverUp(one)])
        }
    }

    @Test("no hold keeps a quorum lost")
    func aQuorumIsNeverKeptLost() {
        var state = state(
            ServicePolicy(flapDamping: .seconds(60), quorum: Quorum.Rule(required: 3), sorryServer: sorry))
        for fall in 0..<5 {
            #expect(fail(one, &state, Double(fall * 2)).contains(.quorumLost(weight: 2)))
            #expect(pass(one, &state, Double(fall * 2 + 1)).contains(.quorumRegained(weight: 3)))
        }
    }
}
