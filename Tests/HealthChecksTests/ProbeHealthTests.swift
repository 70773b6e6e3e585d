import HealthChecks
import Testing

/// The rise and fall of a single probe.
struct ProbeHealthTests {
    /// The arguments are the results ("+" is a success and "-" a failure), the rise, the fall, and the verdicts after
    /// each result: "?", "u" and "d".
    @Test(
        "rise and fall decide, and the first result alone",
        arguments: [
            ("", 2, 3, ""),
            ("+", 2, 3, "u"),
            // The first result decides alone.
            ("-", 2, 3, "d"),
            ("-++", 2, 3, "ddu"),
            ("-+-++", 2, 3, "ddddu"),
            ("+--+---", 2, 3, "uuuuuud"),
            ("+---++", 2, 3, "uuuddu"),
            ("+---+-+-++", 2, 3, "uuuddddddu"),
            ("+-+-+-+-", 1, 2, "uuuuuuuu"),
            ("+--+--", 1, 2, "uuduud"),
            ("+-+-", 1, 1, "udud"),
            ("-+++", 3, 1, "dddu"),
        ])
    func verdicts(results: String, rise: Int, fall: Int, expected: String) {
        var health = ProbeHealth()
        #expect(health.verdict == .unproven)
        var seen = ""
        for result in results {
            let before = health.verdict
            let changed = health.record(result == "+" ? .success : .failure("no"), rise: rise, fall: fall)
            #expect(changed == (health.verdict != before))
            seen += health.verdict == .up ? "u" : health.verdict == .down ? "d" : "?"
        }
        #expect(seen == expected)
    }

    /// The arguments are the results, and a letter before the first result and after each: "t" if a verdict is near,
    /// else "-". The rise is 2 and the fall 3.
    @Test(
        "a result against the verdict means that a verdict is near",
        arguments: [
            ("", "-"), ("+", "--"), ("-", "--"), ("+-", "--t"), ("+--+", "--tt-"), ("+---", "--tt-"),
            ("+---+", "--tt-t"),
            ("+---+-", "--tt-t-"), ("-++", "--t-"),
        ])
    func transitions(results: String, expected: String) {
        var health = ProbeHealth()
        var seen = health.isInTransition ? "t" : "-"
        for result in results {
            health.record(result == "+" ? .success : .failure("no"), rise: 2, fall: 3)
            seen += health.isInTransition ? "t" : "-"
        }
        #expect(seen == expected)
    }

    @Test("a probe that starts down has to rise")
    func startsDown() {
        var health = ProbeHealth(verdict: .down)
        let verdicts = (0..<2).map { _ in
            health.record(.success, rise: 2, fall: 3)
            return health.verdict
        }
        #expect(verdicts == [.down, .up])
    }

    @Test("a probe keeps whether it has ever passed")
    func remembersWhatAnswered() {
        var health = ProbeHealth()
        health.record(.failure("refused"), rise: 1, fall: 1)
        #expect(!health.hasAnswered)
        #expect(health.failure == "refused")
        #expect(!health.isSteadilyUp)
        health.record(.success, rise: 1, fall: 2)
        #expect(health.hasAnswered)
        #expect(health.failure == nil)
        #expect(health.isSteadilyUp)
        health.record(.failure("silent"), rise: 1, fall: 2)
        #expect(health.hasAnswered)
        #expect(health.verdict == .up)
        #expect(!health.isSteadilyUp)
    }
}
