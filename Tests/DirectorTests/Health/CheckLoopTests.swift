import Addresses
import HealthChecks
import Testing

@testable import Director

/// The rests between the turns of the loop of checks. The tests set the time.
struct CheckLoopTests {
    private let start = ContinuousClock.now

    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    private func sleep() -> Task<Void, Never> { Task { try? await Task.sleep(for: .seconds(60)) } }

    @Test("the next turn comes when a round is due, and never within 4 ms")
    func nextTurn() {
        var loop = CheckLoop()
        #expect(loop.endTurn(nextDue: at(50), at: at(0)) == at(50))
        #expect(loop.endTurn(nextDue: at(51), at: at(50)) == at(54))
        #expect(loop.endTurn(nextDue: nil, at: at(54)) == at(1058))
    }

    @Test("a round that is due sooner ends the rest")
    func wake() {
        var loop = CheckLoop()
        let end = loop.endTurn(nextDue: at(1000), at: at(0))
        let rest = sleep()
        loop.beginRest(rest, until: end)
        loop.wake(for: nil)
        loop.wake(for: at(1000))
        #expect(!rest.isCancelled)
        loop.wake(for: at(500))
        #expect(rest.isCancelled)
    }

    @Test("a rest of 4 ms ends by itself")
    func shortRest() {
        var loop = CheckLoop()
        let end = loop.endTurn(nextDue: at(0), at: at(0))
        let rest = sleep()
        loop.beginRest(rest, until: end)
        loop.wake(for: at(1))
        #expect(!rest.isCancelled)
        loop.endRest()
        loop.wake(for: at(1))
        #expect(!rest.isCancelled)
        rest.cancel()
    }

    @Test("answers come in while the loop runs")
    func inbox() async throws {
        var loop = CheckLoop()
        #expect(loop.inbox == nil)
        var answers = loop.open().makeAsyncIterator()
        let server = IPAddress(0x0A00_000B)
        try #require(loop.inbox).answer([
            Checker.Answer(
                id: 7, way: .direct(server), verdict: .passed(.init(latency: .milliseconds(1))), latency: .zero)
        ])
        #expect(await answers.next()?.map(\.id) == [7])
        loop.close()
        #expect(loop.inbox == nil)
    }
}
