import LoadBalancing
import Testing

/// Texts of servers and files on a terminal.
struct TerminalTextTests {
    @Test(
        "unsafe characters become escapes on one line",
        arguments: [
            ("", ""), (#"plain, with "quotes" and \"#, #"plain, with "quotes" and \"#),
            ("Größe 10 µs 🙂", "Größe 10 µs 🙂"),
            ("a\nb\r\n\tc", #"a\nb\r\n\tc"#), ("\u{1B}[31mred\u{7}", #"\u001b[31mred\u0007"#),
            ("\u{0}\u{7F}\u{85}\u{9B}", #"\u0000\u007f\u0085\u009b"#), ("\u{2028}\u{2029}", #"\u2028\u2029"#),
            // These characters change the direction of text.
            ("eth0\u{202E}0hte", #"eth0\u202e0hte"#), ("\u{2066}\u{200F}", #"\u2066\u200f"#),
        ])
    func onOneLine(_ text: String, _ shown: String) {
        #expect(text.onOneLine == shown)
        #expect(text.onOneLine.onOneLine == shown)
    }

    @Test("line ends and tabs stay where they are allowed")
    func linesStayAndNothingElse() {
        #expect("a\n\tb\r\n\u{1B}[K".onItsLines == "a\n\tb\\r\n\\u001b[K")
    }

    @Test("a long list is cut after twenty elements")
    func longListsAreCut() {
        let names = (1...1000).map { "10.0.\($0 / 256).\($0 % 256):80" }
        #expect(names.prefix(2).map(\.self).listed == "10.0.0.1:80, 10.0.0.2:80")
        #expect(Array(names.prefix(20)).listed.hasSuffix(", 10.0.0.20:80"))
        #expect(names.listed.hasSuffix(", 10.0.0.20:80 and 980 others"))
        #expect([String]().listed == "")
    }
}
