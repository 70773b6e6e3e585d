import LoadBalancing
import Testing

@testable import ServiceConfiguration

/// The declarations of options: each is a flag, a key of the file, and the help.
struct OptionsTests {
    /// An option with a value other than its default, as a flag and as a key.
    struct Sample: CustomTestStringConvertible {
        let option: any DeclaredOption
        let given: any GivenOption
        /// The value in YAML.
        let text: String
        /// The options that it needs.
        var beside: [Sample] = []

        init<Value>(_ option: DirectorOption<Value>, _ text: String, beside: [Sample] = []) {
            self.option = option
            self.text = text
            self.beside = beside
            given = Given(option, text)
        }

        /// Makes a flag without a value.
        init(typed option: DirectorOption<Bool>, beside: [Sample] = []) {
            self.option = option
            self.beside = beside
            text = "\(option.flag?.presence == true)"
            given = GivenPresence(option)
        }

        var all: [Sample] { beside + [self] }

        var testDescription: String { option.flagName }
    }

    static let samples = [
        Sample(Options.interfaces, "eth7"), Sample(Options.xdp, "generic"), Sample(typed: Options.addresses),
        Sample(typed: Options.synWatch), Sample(Options.outerSources, "172.16.0.0/16"),
        Sample(Options.connections, "1000"), Sample(Options.halfOpenLimit, "7"), Sample(Options.tcpTimeout, "10m"),
        Sample(Options.tcpFinTimeout, "9s"), Sample(Options.udpTimeout, "10s"),
        Sample(Options.metricsListen, "127.0.0.1:9104"), Sample(Options.logFormat, "json"),
        Sample(Options.scheduler, "mh"),
        Sample(Options.schedulerFlags, "mh-port", beside: [Sample(Options.scheduler, "mh")]),
        Sample(Options.maglevSize, "65537"), Sample(Options.persistent, "6m"),
        Sample(Options.persistentNetmask, "24", beside: [Sample(Options.persistent, "6m")]),
        Sample(typed: Options.onePacket), Sample(Options.onServerLoss, "reset"),
        Sample(Options.onServerRemoval, "finish"), Sample(Options.upperThreshold, "500"),
        Sample(Options.lowerThreshold, "400", beside: [Sample(Options.upperThreshold, "500")]),
        Sample(Options.check, "ping"), Sample(Options.checkInterval, "2s"), Sample(Options.checkFastInterval, "0.5s"),
        Sample(Options.checkTimeout, "0.2s"), Sample(Options.rise, "3"), Sample(Options.fall, "4"),
        Sample(Options.notify, "/bin/tell"),
        Sample(typed: Options.notifyAtStart, beside: [Sample(Options.notify, "/bin/tell")]),
        Sample(typed: Options.inhibit), Sample(Options.slowStart, "30s"), Sample(Options.flapDamping, "1m"),
        Sample(Options.quorum, "2/1"), Sample(Options.sorryServer, "10.0.0.99"),
    ]

    private static let needed = [
        Sample(Options.listeners, "10.0.0.100:53/udp"), Sample(Options.servers, "10.0.0.11=4"),
    ]

    /// Returns a file with these keys, each in its mapping.
    private static func file(_ samples: [Sample]) -> String {
        var items: [FileSection: [String]] = [:]
        for sample in samples {
            guard let section = sample.option.key?.sections.last, section != .check else { continue }
            items[section, default: []].append("\(sample.option.keyName): '\(sample.text)'")
        }
        // The pace of checks is also a key of `checks`. The service's values hold for its own check.
        for sample in samples where sample.option.key?.sections.last == .check {
            items[.service, default: []].append("\(sample.option.keyName): '\(sample.text)'")
        }
        func mapping(_ option: FileMapping, _ section: FileSection) -> [String] {
            items[section].map { ["\(option.keyName): {\($0.joined(separator: ", "))}"] } ?? []
        }
        let service =
            items[.service, default: []] + mapping(Options.persistenceMapping, .persistence)
            + mapping(Options.notifyMapping, .notify)
        let lines = items[.file, default: []] + mapping(Options.timeouts, .timeouts)
        return (lines + ["services: [{\(service.joined(separator: ", "))}]"]).joined(separator: "\n")
    }

    @Test("a flag and its key make the same configuration, and another one than without them", arguments: samples)
    func flagAndKey(sample: Sample) throws {
        let all = Self.needed + sample.all
        let flags = try DirectorFlags(all.map(\.given)).configuration()
        let file = try ConfigurationFile.parse(Self.file(all), file: "f")
        #expect(flags == file)
        let without = try DirectorFlags((Self.needed + sample.beside).map(\.given)).configuration()
        #expect(flags != without)
    }

    @Test("every flag with a key has a sample")
    func everyFlagWithKeyHasSample() {
        let sampled = Set((Self.samples + Self.needed).map(\.option.flagName))
        #expect(Set(Options.flags.filter { $0.key != nil }.map(\.flagName)) == sampled)
    }

    @Test("a flag that was typed is named beside --config", arguments: samples)
    func typedFlagIsNamed(sample: Sample) {
        #expect(DirectorFlags([sample.given]).names == [sample.option.flagName])
    }

    @Test("a flag that was typed with its default value is named beside --config")
    func typedDefaultIsNamed() {
        #expect(Options.scheduler.help.standard == "wlc")
        #expect(DirectorFlags([Given(Options.scheduler, "wlc")]).names == ["--scheduler"])
        #expect(DirectorFlags([Given(Options.checkTimeout, "700ms")]).names == ["--check-timeout"])
        #expect(DirectorFlags().names == [])
    }

    @Test("a default has the text of its value")
    func defaults() {
        #expect(Options.checkInterval.help.standard == "1s")
        #expect(Options.tcpTimeout.help.standard == "15m")
        #expect(Options.connections.help.standard == "524288")
        #expect(Options.quorum.help.standard == "1")
    }

    @Test("a shorter interval shortens the time-out that is not given")
    func shorterInterval() throws {
        var flags = DirectorFlagsTests.good
        flags[Options.checkInterval] = "0.2s"
        #expect(try DirectorFlagsTests.policy(flags)?.timeout == .milliseconds(200))
        flags[Options.checkTimeout] = "0.7s"
        #expect(
            DirectorFlagsTests.errors(flags) == [
                "--check-timeout 0.7s: longer than the check interval (accepted: 10ms to the interval, 200ms)"
            ])
    }

    @Test("no two options have the same flag, nor the same key in one mapping")
    func namesAreUnique() {
        let flags = Options.all.compactMap { $0.flag?.name }
        #expect(Set(flags).count == flags.count)
        for section in FileSection.allCases where section != .check {
            let keys = Options.options(of: section).map(\.keyName)
            #expect(Set(keys).count == keys.count, "\(section)")
        }
        for type in CheckType.allCases {
            let keys = Options.options(of: type).map(\.keyName)
            #expect(Set(keys).count == keys.count, "\(type)")
        }
    }
}
