import Testing

@testable import HealthChecks

/// The meaning of regular expressions, and the limits of their search.
struct PatternTests {
    private static func finds(_ pattern: String, _ text: String) throws -> Bool {
        Pattern.search(Array(text.utf8), for: [try Pattern(pattern)]) == .found
    }

    @Test("patterns match as in PCRE2")
    func meaningsAreThoseOfPCRE2() throws {
        #expect(try Self.finds("^ok [0-9]+$", "ok 12"))
        #expect(try !Self.finds("^ok [0-9]+$", "ok x"))
        #expect(try Self.finds("a\\s\nb", "a\r\nb"))
        #expect(try Self.finds("(?i)HEALTHY", "is healthy."))
        #expect(try Self.finds("^ok$", "ok\n"))
        #expect(try !Self.finds("^ok$", "ok\n\n"))
        #expect(try !Self.finds("(?m)^ok$", "ok\r\n"))
        #expect(try Self.finds("(?m)^ok\r?$", "ok\r\n"))
        #expect(try Self.finds("[a&&b]", "&"))
        #expect(try Self.finds("[[a]]", "a]"))
        #expect(try Self.finds("", ""))
        #expect(try Self.finds("^$", ""))
        #expect(try !Self.finds("a", ""))
        // Patterns match bytes, unless the expression has non-ASCII characters, or begins with (*UTF).
        #expect(try Self.finds("^caf..$", "café"))
        #expect(try !Self.finds("(*UTF)^caf..$", "café"))
        #expect(try Self.finds("^caf[éà]$", "café"))
        #expect(try Self.finds("^É|(?i)É", "é"))
        #expect(try !Self.finds("é\\b", "éa"))
        #expect(try Self.finds("(*UTF)(*UCP)^\\w$", "é"))
        let latin = Array("ok caf".utf8) + [0xE9, 0x20] + Array("fin".utf8)
        #expect(Pattern.search(latin, for: [try Pattern("(*UTF)fin$"), try Pattern("^ok")]) == .found)
    }

    @Test("every pattern has to match")
    func everyPatternHasToBeFound() throws {
        let (one, two, none) = (try Pattern("a"), try Pattern("b"), try Pattern("c"))
        #expect(Pattern.search(Array("ab".utf8), for: [one, two]) == .found)
        #expect(Pattern.search(Array("ab".utf8), for: [one, none, two]) == .lacks(none))
        let same = try Pattern("a")
        #expect(one == same)
        #expect(one != two)
        #expect(Set([one, same, two]).count == 2)
    }

    @Test(
        "an invalid expression is refused with its reason",
        arguments: [
            ("(", "missing closing parenthesis, at byte 1"), ("[a", "missing terminating ]"),
            ("\\u{e9}", "not support"), ("a{2}{3}++*", "nothing to repeat|quantifier"),
            (String(repeating: "(", count: 300) + String(repeating: ")", count: 300), "too deeply nested"),
            (
                String(repeating: "[", count: 1500) + "a" + String(repeating: "]", count: 1500),
                "1500 nested [, 250 at most"
            ),
            (String(repeating: "[", count: 100_000), "100000 nested ["),
            ("((a{1,1000}){1,1000}){1,1000}", "too large"),
        ])
    func refusals(expression: String, reason: String) {
        do {
            _ = try Pattern(expression)
            Issue.record("accepted")
        } catch {
            #expect(reason.split(separator: "|").contains { error.description.contains($0) }, "\(error)")
            #expect(error.description.count < 400)
        }
    }

    /// Each search takes seconds to years without a limit. The limit is 50 ms of processor time. The expected time
    /// allows for a loaded machine.
    @Test(
        "a costly search is given up",
        arguments: [
            ("^(\\w+\\s?)*$", String(repeating: "a", count: 40) + "!"),
            ("^(a+)+$", String(repeating: "a", count: 65_535) + "b"),
            ("(\\w+\\s?)*$", String(repeating: "a", count: 65_535) + "!"),
            ("x*+[yz]", String(repeating: "x", count: 65_535) + "!"),
            ("(?=(x+x+)+[yw])[xz]", String(repeating: "x", count: 65_535)),
            ("(x{1,30000})\\1[yz]", String(repeating: "x", count: 65_535)),
            ("^((x|xx)(?1)?)+[yz]", String(repeating: "x", count: 1000)),
            ("(*NO_AUTO_POSSESS)(*NO_START_OPT)(|x|x)*[yz]", String(repeating: "x", count: 65_535)),
            ("(*UTF)(\\w|é)*$", String(repeating: "é", count: 30_000) + "!"),
        ])
    func noSearchTakesLong(expression: String, text: String) throws {
        let pattern = try Pattern(expression)
        let clock = ContinuousClock()
        let took = clock.measure {
            #expect(Pattern.search(Array(text.utf8), for: [pattern]) == .tooCostly(pattern))
        }
        #expect(took < .seconds(5), "\(took)")
    }

    @Test("all patterns of a check share one time limit")
    func manyCostlyPatternsAreNoMoreThanOne() throws {
        let costly = try (0..<100).map { try Pattern("^(a+)+$|\(String(repeating: "b?", count: $0))") }
        let fine = try Pattern("!")
        let text = Array((String(repeating: "a", count: 40) + "!").utf8)
        let took = ContinuousClock().measure {
            _ = Pattern.search(text, for: costly.map { $0 } + [fine])
        }
        #expect(took < .seconds(3), "\(took)")
    }

    @Test(
        "a usual expression stays far below the limits",
        arguments: ["(\\w|\\s)*!", "(?s).*!$", "welcome +back|!", "(?:.)*!", "([^!]*)!"])
    func usualExpressionsPass(expression: String) throws {
        let text = String(repeating: "a page of words ", count: 1023) + "!"
        #expect(try Self.finds(expression, text))
    }

    @Test(
        "the differences from Swift's Regex are named",
        arguments: [
            ("^ok", []), ("welcome +back", []), ("[[:alpha:]]+", ["ASCII"]), ("\\Qa$[[\\E", []), ("[]a]", []),
            ("[^]a]", []),
            ("ok$", ["$"]), ("(?m)^ok$", ["lines"]), ("(?im)ok$", ["lines"]), ("\\$", []), ("[$]", []),
            ("[a[b]]", ["class"]), ("[a&&b]", ["class"]), ("[+--b]", ["class"]), ("[\\w~~b]", ["class", "ASCII"]),
            ("\\bok\\d", ["ASCII"]), ("(*UTF)(*UCP)\\w", []), ("(*UCP)(*UTF)\\w", []), ("é\\w", []),
            ("ok\\d$", ["$", "ASCII"]), ("[[:alpha:]$]", ["ASCII"]), ("[[:^digit:]a[b]]", ["class", "ASCII"]),
            ("[[:]a]", ["class"]), ("(*UTF)(*UCP)[[:alpha:]]$", ["$"]),
            ("a.c", ["CR"]), ("(?s)a.c", []), ("[.]\\.", []), ("^.*$", ["$", "CR"]),
        ] as [(String, [String])])
    func changesAreNamed(expression: String, words: [String]) throws {
        let changes = try Pattern(expression).changes
        #expect(changes.count == words.count, "\(changes)")
        for (change, word) in zip(changes, words) { #expect(change.contains(word), "\(change)") }
    }
}
