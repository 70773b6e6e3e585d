import Addresses
import DataPlane
import LoadBalancing
import Testing

@testable import Director

/// The limits of checks that unanswered SYNs start. The tests set the time.
struct OutOfTurnChecksTests {
    private let member = ServiceMember(
        service: ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp),
        server: IPAddress(0x0A00_000B))
    private let start = ContinuousClock.now

    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    /// Begins a series of round 1, whose fast interval is 300 ms. Returns whether the series may begin.
    private func begin(_ checks: inout OutOfTurnChecks, _ milliseconds: Int, unanswered: UInt32 = 2) -> Bool {
        checks.begin(
            1, for: member, unanswered: unanswered, fall: 3, interval: .milliseconds(300), at: at(milliseconds))
    }

    @Test("there is one series in an interval, however many SYNs are unanswered")
    func oneSeries() {
        var checks = OutOfTurnChecks()
        let first = begin(&checks, 0)
        #expect(first)
        #expect(checks.next(1)?.member == member)
        #expect(checks.next(1)?.earliest == at(0))
        let during = begin(&checks, 100, unanswered: 3)
        #expect(!during)
        checks.end(1)
        #expect(checks.next(1) == nil)
        let soon = begin(&checks, 299, unanswered: 4)
        #expect(!soon)
        let later = begin(&checks, 300, unanswered: 5)
        #expect(later)
        #expect(checks.next(1)?.earliest == at(300))
    }

    @Test("a series ends after as many failures as a verdict takes")
    func failures() {
        var checks = OutOfTurnChecks()
        let begins = begin(&checks, 0)
        #expect(begins)
        for left in [2, 1, 0] {
            checks.noteFailure(1)
            #expect((checks.next(1) != nil) == (left > 0))
        }
        checks.noteFailure(1)
        #expect(checks.next(1) == nil)
    }

    @Test("a series that goes on is no reason for another one")
    func slowSeries() {
        var checks = OutOfTurnChecks()
        let first = begin(&checks, 0)
        checks.noteFailure(1)
        let second = begin(&checks, 5000, unanswered: 9)
        #expect(first)
        #expect(!second)
    }

    @Test("completed handshakes delay the next question, until the interval is over")
    func handshakes() {
        var checks = OutOfTurnChecks()
        let begins = begin(&checks, 0)
        #expect(begins)
        checks.postpone(1, at: at(10))
        #expect(checks.next(1)?.earliest == at(110))
        checks.postpone(1, at: at(290))
        #expect(checks.next(1)?.earliest == at(390))
        checks.postpone(1, at: at(390))
        #expect(checks.next(1) == nil)
    }

    @Test("a member is suspicious again when other SYNs are unanswered than at the last series")
    func news() {
        var checks = OutOfTurnChecks()
        #expect(checks.suspects([member: 2]) == [member])
        let begins = begin(&checks, 0)
        #expect(begins)
        #expect(checks.suspects([member: 2]).isEmpty)
        #expect(checks.suspects([member: 3]) == [member])
        // A handshake has completed in between.
        #expect(checks.suspects([:]).isEmpty)
        #expect(checks.suspects([member: 2]) == [member])
    }

    @Test("a removed round has no series")
    func forgotten() {
        var checks = OutOfTurnChecks()
        let begins = begin(&checks, 0)
        checks.forget([1])
        #expect(begins)
        #expect(checks.next(1) == nil)
    }
}
