import LoadBalancing
import ServiceConfiguration
import Testing

/// The notification program, and the address of metrics.
struct NotificationTests {
    private static let services = "services:\n- listeners: 10.0.0.100:80\n  servers: 10.0.0.11\n"
    private static let address = ConfigurationFileTests.address

    private static func script(_ text: String) throws -> NotificationScript? {
        try ConfigurationFileTests.parse(services + text)[address]?.notification
    }

    @Test("the key notify accepts a path, a list, a mapping and none")
    func formsOfAFile() throws {
        #expect(try Self.script("") == nil)
        #expect(try Self.script("  notify: /bin/tell") == NotificationScript(command: ["/bin/tell"]))
        #expect(
            try Self.script("  notify: [/bin/tell, -v, \"a b\"]")
                == NotificationScript(command: ["/bin/tell", "-v", "a b"]))
        #expect(
            try Self.script("  notify: {command: [/bin/tell, x], timeout: 2s}")
                == NotificationScript(command: ["/bin/tell", "x"], timeout: .seconds(2)))
        #expect(
            try Self.script("  notify: {command: /bin/tell, at-start: true}")
                == NotificationScript(command: ["/bin/tell"], tellsAtStart: true))
        let defaults = "defaults: {notify: /bin/all}\n" + Self.services
        #expect(
            try ConfigurationFileTests.parse(defaults)[Self.address]?.notification
                == NotificationScript(command: ["/bin/all"]))
        #expect(try ConfigurationFileTests.parse(defaults + "  notify: none")[Self.address]?.notification == nil)
        #expect(
            try ConfigurationFileTests.parse(defaults + "  notify: /bin/own")[Self.address]?.notification
                == NotificationScript(command: ["/bin/own"]))
    }

    @Test(
        "a bad value of the key notify is an error",
        arguments: [
            ("notify: tell", "f:4: notify tell: no absolute path (accepted: /path/of/a/program)"),
            (
                "notify: []",
                "f:4: notify: an empty list (accepted: /path/of/a/program, a list of it and its arguments, or none)"
            ),
            ("notify: {timeout: 1s}", "f:4: notify: there is no command (accepted: command: [/path, ARGUMENT])"),
            ("notify: {command: /x, wait: 1s}", "f:4: wait: unknown key (accepted: command, timeout, at-start)"),
            ("notify: {command: /x, timeout: 0s}", "f:4: timeout 0s: out of range (accepted: 10ms to 1h)"),
            (
                "notify: [[a]]",
                "f:4: notify: no single value (accepted: /path/of/a/program, a list of it and its arguments, or none)"
            ),
        ])
    func mistakesOfAFile(line: String, error: String) {
        #expect(ConfigurationFileTests.errors(Self.services + "  " + line) == [error])
    }

    /// Parses a notification program, a check's program and its authorities, which the machine lacks.
    @Test(
        "a named program or file that is missing is an error",
        arguments: [
            (
                "notify: /nonexistent/tell",
                "f:4: notify /nonexistent/tell: /nonexistent/tell: No such file or directory"
            ),
            ("notify: [/etc/passwd, x]", "f:4: notify /etc/passwd: /etc/passwd: not executable"),
            ("notify: {command: /usr}", "f:4: command /usr: /usr: no regular file"),
            (
                "checks: [{type: script, command: [/nonexistent/check]}]",
                "f:4: command: /nonexistent/check: No such file or directory"
            ),
            ("checks: [{type: script, command: [/etc/passwd]}]", "f:4: command: /etc/passwd: not executable"),
            (
                "checks: [{type: tls, ca-file: /nonexistent.pem}]",
                "f:4: ca-file /nonexistent.pem: /nonexistent.pem: No such file or directory"
            ),
            ("checks: [{type: https, ca-file: /usr}]", "f:4: ca-file /usr: /usr: no regular file"),
        ])
    func missingFiles(line: String, error: String) {
        let text = Self.services + "  " + line
        #expect(ConfigurationFileTests.errors(text).isEmpty)
        let errors = #expect(throws: ConfigurationErrors.self) {
            try ConfigurationFile.parse(text, file: "f", files: .present)
        }
        #expect(errors?.errors.count == 1)
        #expect(errors?.errors.first?.description.hasPrefix(error + " (accepted: ") == true)
    }

    @Test("a named program or file that exists is accepted")
    func presentFiles() throws {
        let text =
            Self.services + "  notify: /bin/true\n  checks:\n  - {type: script, command: [/bin/true]}\n"
            + "  - {type: tls, ca-file: /etc/passwd}\n"
        #expect(try ConfigurationFile.parse(text, file: "f", files: .present).services.count == 1)
        var flags = TypedFlags(vips: ["10.0.0.100:80"], backends: ["10.0.0.11"])
        flags[Options.notify] = "/bin/true"
        #expect(try flags.configuration(files: .present).services.map { $0.notification != nil } == [true])
        flags[Options.notify] = "/nonexistent/tell"
        let errors = #expect(throws: ConfigurationErrors.self) { try flags.configuration(files: .present) }
        #expect(errors?.errors.first?.place == "--notify /nonexistent/tell")
    }

    @Test("a mistake in the defaults is one error")
    func aMistakeInDefaultsIsToldOnce() {
        #expect(ConfigurationFileTests.errors("defaults: {notify: tell}\n" + Self.services).count == 1)
    }

    @Test("--notify and --metrics-listen hold for all services")
    func flags() throws {
        var flags = TypedFlags(vips: ["10.0.0.100:80,10.0.0.101"], backends: ["10.0.0.11"])
        flags[Options.notify] = "/bin/tell"
        flags[Options.metricsListen] = "127.0.0.1:9104"
        let configuration = try flags.configuration()
        #expect(configuration.services.map { $0.notification != nil } == [true, true])
        #expect(configuration[Self.address]?.notification == NotificationScript(command: ["/bin/tell"]))
        #expect(configuration.metricsListen?.description == "127.0.0.1:9104")
        #expect(flags.flags.names == ["--vip", "--backends", "--notify", "--metrics-listen"])
        flags[Options.notify] = "tell"
        flags[Options.metricsListen] = "9104"
        #expect(throws: ConfigurationErrors.self) { try flags.configuration() }
    }

    @Test(
        "a bad address of metrics-listen is an error",
        arguments: ["9104", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "localhost:1", "224.0.0.1:1", ":1", ""])
    func noPlaceToListen(text: String) {
        #expect(throws: InvalidValue.self) { try ListenAddress(parsing: text) }
        #expect(
            ConfigurationFileTests.errors("metrics-listen: \"\(text)\"\n" + Self.services).count == 1)
    }

    @Test("metrics-listen accepts an address and port")
    func placesToListen() throws {
        for text in ["0.0.0.0:1", "127.0.0.1:65535", "10.0.0.2:9104"] {
            #expect(try ListenAddress(parsing: text).description == text)
        }
        #expect(
            try ConfigurationFileTests.parse("metrics-listen: 0.0.0.0:9104\n" + Self.services).metricsListen?.port
                == 9104)
    }

    @Test("--notify-at-start needs --notify")
    func theStartIsToldToAProgram() throws {
        var flags = TypedFlags(vips: ["10.0.0.100:80"], backends: ["10.0.0.11"])
        flags[typed: Options.notifyAtStart] = true
        let errors = #expect(throws: ConfigurationErrors.self) { try flags.configuration() }
        #expect(
            errors?.errors.map(\.description) == ["--notify-at-start: there is no program (accepted: with --notify)"])
        flags[Options.notify] = "/bin/tell"
        #expect(try flags.configuration().services.map(\.notification?.tellsAtStart) == [true])
    }
}
