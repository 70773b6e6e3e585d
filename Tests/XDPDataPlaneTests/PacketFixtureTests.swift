import TestSupport
import Testing

/// Runs each fixture through the packet program.
@MainActor
@Suite(.serialized, .needsRoot)
struct PacketFixtureTests {
    private static let shared = Swift.Result { try Lab(Standard.configuration) }
    private static let redirecting = Swift.Result { try Lab(Standard.configuration, answersByRedirect: true) }
    private let lab: Lab

    init() throws { lab = try Self.shared.get() }

    private func check(_ fixture: Fixture) throws {
        try fixture.check(in: lab)
        try lab.expectBalance()
    }

    @Test("packets for no VIP are ignored", arguments: Fixture.ignored) func ignored(_ fixture: Fixture) throws {
        try check(fixture)
    }

    @Test("packets pass to the director's own stack", arguments: Fixture.passed) func passed(_ fixture: Fixture) throws
    { try check(fixture) }

    @Test("packets are forwarded", arguments: Fixture.forwarded) func forwarded(_ fixture: Fixture) throws {
        try check(fixture)
    }

    @Test("packets are forwarded by other paths", arguments: Fixture.forwardedOtherwise) func forwardedOtherwise(
        _ fixture: Fixture
    ) throws {
        try check(fixture)
    }

    @Test("bad packets are dropped", arguments: Fixture.bad) func dropped(_ fixture: Fixture) throws {
        try check(fixture)
    }

    @Test("packets without a connection are answered by a reset", arguments: Fixture.reset) func answered(
        _ fixture: Fixture
    ) throws { try check(fixture) }

    @Test("echo requests are answered", arguments: Fixture.echoes) func echo(_ fixture: Fixture) throws {
        try check(fixture)
    }

    @Test("ICMP errors are relayed or dropped", arguments: Fixture.icmp) func icmp(_ fixture: Fixture) throws {
        try check(fixture)
    }

    @Test("fragments go to the first one's real server", arguments: Fixture.fragments) func fragment(_ fixture: Fixture)
        throws
    { try check(fixture) }

    @Test("replies leave by redirect where XDP_TX does not work", arguments: Fixture.reset + Fixture.echoes)
    func answeredByRedirect(_ fixture: Fixture) throws {
        let lab = try Self.redirecting.get()
        try fixture.check(in: lab, repliesBy: .redirect)
        try lab.expectBalance()
    }

    @Test("the descriptions of fixtures differ") func descriptionsDiffer() {
        let all = [
            Fixture.ignored, Fixture.passed, Fixture.forwarded, Fixture.forwardedOtherwise, Fixture.bad, Fixture.reset,
            Fixture.echoes, Fixture.icmp, Fixture.fragments,
        ].flatMap { $0 }
        #expect(all.count >= 60)
        #expect(Set(all.map(\.description)).count == all.count)
    }
}
