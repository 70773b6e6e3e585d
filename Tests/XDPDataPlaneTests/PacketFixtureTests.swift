import Testing

/// Each row of the fixtures through the director's program by test run.
@MainActor
@Suite(.serialized, .enabled("needs root") { canLoadPrograms })
struct PacketFixtureTests {
    private static let shared = Swift.Result { try Lab(Standard.configuration) }
    private static let redirecting = Swift.Result { try Lab(Standard.configuration, answersByRedirect: true) }
    private let lab: Lab

    init() throws { lab = try Self.shared.get() }

    private func check(_ fixture: Fixture) throws {
        try fixture.check(in: lab)
        try lab.expectBalance()
    }

    @Test(arguments: Fixture.ignored) func ignored(_ fixture: Fixture) throws { try check(fixture) }

    @Test(arguments: Fixture.passed) func passed(_ fixture: Fixture) throws { try check(fixture) }

    @Test(arguments: Fixture.forwarded) func forwarded(_ fixture: Fixture) throws { try check(fixture) }

    @Test(arguments: Fixture.forwardedOtherwise) func forwardedOtherwise(_ fixture: Fixture) throws {
        try check(fixture)
    }

    @Test(arguments: Fixture.bad) func dropped(_ fixture: Fixture) throws { try check(fixture) }

    @Test(arguments: Fixture.reset) func answered(_ fixture: Fixture) throws { try check(fixture) }

    @Test(arguments: Fixture.echoes) func echo(_ fixture: Fixture) throws { try check(fixture) }

    @Test(arguments: Fixture.icmp) func icmp(_ fixture: Fixture) throws { try check(fixture) }

    @Test(arguments: Fixture.fragments) func fragment(_ fixture: Fixture) throws { try check(fixture) }

    /// Where XDP_TX would be lost, the same replies leave by redirect.
    @Test(arguments: Fixture.reset + Fixture.echoes) func answeredByRedirect(_ fixture: Fixture) throws {
        let lab = try Self.redirecting.get()
        try fixture.check(in: lab, repliesBy: .redirect)
        try lab.expectBalance()
    }

    /// The rows of a table are told apart by their words.
    @Test func descriptionsDiffer() {
        let all = [
            Fixture.ignored, Fixture.passed, Fixture.forwarded, Fixture.forwardedOtherwise, Fixture.bad, Fixture.reset,
            Fixture.echoes, Fixture.icmp, Fixture.fragments,
        ].flatMap { $0 }
        #expect(all.count >= 60)
        #expect(Set(all.map(\.description)).count == all.count)
    }
}
