import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

private let one = "- {listeners: 10.0.0.100:80, scheduler: rr, servers: [10.0.0.11, 10.0.0.12]}\n"
private let other = "- {listeners: 10.0.0.100:81, servers: 10.0.0.13, checks: [{type: ping}]}\n"

/// The summary that `ipvsd reload` prints.
struct ReloadSummaryTests {
    private static func configuration(_ services: String, _ settings: String = "") throws -> DirectorConfiguration {
        try ConfigurationFile.parse("\(settings)services:\n\(services)", file: "f")
    }

    @Test(
        "the summary names services, real servers and settings where they have changed",
        arguments: [
            (one, "", "nothing changed"),
            (one + other, "", "services added: 1, real servers added: 1"),
            (other + one, "", "services added: 1, real servers added: 1"),
            (other, "", "services added: 1, services removed: 1, real servers added: 1, real servers removed: 2"),
            (one.replacing("rr", with: "wrr"), "", "settings changed"),
            (one.replacing("10.0.0.12", with: "10.0.0.12=2"), "", "settings changed"),
            (one.replacing("10.0.0.12", with: "10.0.0.13"), "", "real servers added: 1, real servers removed: 1"),
            (
                one.replacing("10.0.0.12", with: "10.0.0.13").replacing("rr", with: "wrr"), "",
                "real servers added: 1, real servers removed: 1, settings changed"
            ),
            (
                one.replacing("10.0.0.11,", with: "10.0.0.11=5, 10.0.0.13,"), "",
                "real servers added: 1, settings changed"
            ),
            (
                one.replacing("10.0.0.100:80", with: "[10.0.0.100:80, 10.0.0.100:443, 10.0.0.101:80]"), "",
                "listeners added: 2"
            ),
            (
                one.replacing("10.0.0.100:80", with: "[10.0.0.100:80, 10.0.0.100:443]")
                    .replacing("rr", with: "wrr"), "", "listeners added: 1, settings changed"
            ),
            (one + other, "timeouts: {udp: 10s}\n", "services added: 1, real servers added: 1, settings changed"),
            (one, "defaults: {inhibit: yes}\n", "settings changed"),
        ])
    func summary(services: String, settings: String, text: String) throws {
        #expect(
            ReloadSummary.text(
                from: try Self.configuration(one), to: try Self.configuration(services, settings)) == text)
    }

    @Test("a listener that goes away is no changed setting")
    func removedListener() throws {
        let two = one.replacing("10.0.0.100:80", with: "[10.0.0.100:80, 10.0.0.100:443]")
        let text = ReloadSummary.text(from: try Self.configuration(two), to: try Self.configuration(one))
        #expect(text == "listeners removed: 1")
    }
}
