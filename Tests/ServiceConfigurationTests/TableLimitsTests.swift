import Addresses
import LoadBalancing
import Testing

@testable import ServiceConfiguration

/// The limits of the packet program's tables, which are errors of the configuration.
struct TableLimitsTests {
    private static func addresses(_ count: Int) -> [IPAddress] {
        // They begin at 10.1.0.0.
        (0..<count).map { IPAddress(0x0A01_0000 + UInt32($0)) }
    }

    private static func file(servers: Int, _ more: String = "") -> [String] {
        let servers = addresses(servers).map(\.description).joined(separator: ", ")
        return ConfigurationFileTests.errors(
            "services:\n- listeners: 10.0.0.100:80\n  servers: [\(servers)]\n\(more)")
    }

    @Test("a scheduler that compares real servers accepts 1024 of them")
    func schedulersThatCompareTakeAThousand() {
        #expect(Self.file(servers: 1024) == [])
        #expect(Self.file(servers: 1025, "  scheduler: rr\n") == [])
        #expect(
            Self.file(servers: 1025) == [
                "f:3: servers: 1025 real servers in a service of scheduler wlc (accepted: 1024 at most; more with rr, wrr, "
                    + "sh, dh, mh, twos)"
            ])
        // The sorry server is in the same list.
        #expect(
            Self.file(servers: 1024, "  sorry-server: 10.0.0.99\n").first?.hasPrefix(
                "f:3: servers: 1025 real servers with the sorry server in a service of scheduler wlc ") == true)
    }

    @Test("too many real servers in --backends are one error for all services")
    func flagsSayItOnceForAllServices() {
        let servers = Self.addresses(1025).map(\.description).joined(separator: ",")
        let errors = DirectorFlagsTests.errors(
            TypedFlags(vips: ["10.0.0.100:80", "10.0.0.100:443"], backends: [servers]))
        #expect(errors.count == 1)
        #expect(errors.first?.hasPrefix("--backends: 1025 real servers in a service of scheduler wlc ") == true)
    }

    /// Returns the places and problems of errors, for `count` services with `servers` real servers each.
    private static func errors(services count: Int, servers: Int, anyPort: Bool = false) -> [String] {
        let servers = addresses(servers).map { RealServer(address: $0) }
        let services = addresses(count).map { vip in
            ConfiguredService(
                VirtualService(
                    address: anyPort ? ServiceAddress(vip: vip) : ServiceAddress(vip: vip, port: 80, transport: .tcp),
                    scheduler: .rr, servers: servers))
        }
        var findings = Findings()
        findings.validateSize(of: DirectorConfiguration(services: services)) { $0 == nil ? "all" : "one" }
        return findings.errors.map { "\($0.place): \($0.problem)" }
    }

    @Test("the tables hold 65535 real servers and listeners")
    func tablesHoldSixteenBits() {
        // 4369 times 15 is 65535.
        #expect(Self.errors(services: 4369, servers: 15) == [])
        #expect(
            Self.errors(services: 4096, servers: 16) == ["all: 65536 real servers, counted once for each service"])
        #expect(
            Self.errors(services: 1, servers: 65_535) == ["one: 65535 real servers in a service of scheduler rr"])
        // An any-port listener counts twice.
        #expect(Self.errors(services: 32_767, servers: 1, anyPort: true) == [])
        #expect(
            Self.errors(services: 32_768, servers: 1, anyPort: true) == [
                "all: 65536 listeners, where one without a port counts as two"
            ])
    }
}

/// Quoted texts of a file or a command line in errors.
struct QuotedTextTests {
    @Test("errors are one line without control characters")
    func errorsAreOneLineWithoutControlCharacters() {
        let file = "services:\n- listeners: \"10.0.0.100:80\\n\\e[2J\"\n  servers: 10.0.0.11\n"
        let errors = ConfigurationFileTests.errors(file) + ConfigurationFileTests.errors("\"a\\n\\e]0;x\\a\": 1\n")
        var flags = DirectorFlagsTests.good
        flags[Options.scheduler] = "r\nr\u{9B}"
        let all = errors + DirectorFlagsTests.errors(flags)
        #expect(all.count >= 3)
        for error in all {
            #expect(!error.unicodeScalars.contains { $0.properties.generalCategory == .control }, "\(error)")
        }
        #expect(errors[0].contains(#"10.0.0.100:80\n\u001b[2J"#))
    }
}
