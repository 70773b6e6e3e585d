import ConfigurationImport
import Foundation
import HealthChecks
import ServiceConfiguration
import Testing

/// Runs of the shells around keepalived's programs.
struct ImportProgramsTests {
    private func run(_ command: [String], _ environment: [String: String] = [:]) throws -> (Int32, String) {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(filePath: command[0])
        process.arguments = Array(command.dropFirst())
        process.environment = environment
        process.standardOutput = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }

    private func configuration(_ service: String, _ server: String) throws -> DirectorConfiguration {
        try ImportLab().read(ImportKeepalivedTests.service(server, service: service)).configuration
    }

    @Test("each event runs its program")
    func eachEventRunsItsProgram() throws {
        let configuration = try configuration(
            """
            quorum_up "/bin/echo up 'a  b' '\\"c\\"' $HOME it\\'s"
            quorum_down /bin/false
            """, "notify_up \"/bin/echo 10.0.0.11 is up\"")
        let notification = try #require(configuration[address("10.0.0.100:80")]?.notification)
        func tell(_ event: String, _ server: String? = nil) throws -> (Int32, String) {
            var environment = ["IPVSD_EVENT": event, "IPVSD_SERVICE": "10.0.0.100:80/tcp"]
            environment["IPVSD_SERVER"] = server
            return try run(notification.command, environment)
        }
        #expect(try tell("quorum-regained") == (0, "up a  b \"c\" $HOME it's\n"))
        #expect(try tell("quorum-lost").0 == 1)
        #expect(try tell("server-up", "10.0.0.11") == (0, "10.0.0.11 is up\n"))
        #expect(try tell("server-down", "10.0.0.11") == (0, ""))
        #expect(try tell("service-up") == (0, ""))
    }

    /// Checks the programs of the start. keepalived runs quorum_up then, but notify_up only for real servers that began
    /// as down, or with rs_init_notifies.
    @Test(
        "notify_up runs at the start only for real servers that began as down",
        arguments: [
            ("", "", ["quorum"]), ("rs_init_notifies", "", ["quorum", "10.0.0.11", "10.0.0.12"]),
            ("", "alpha", ["quorum", "10.0.0.11"]), ("rs_init_notifies no", "", ["quorum"]),
        ])
    func programsAtTheStart(global: String, first: String, told: [String]) throws {
        let servers = [("10.0.0.11", first), ("10.0.0.12", "")].map { address, line in
            "real_server \(address) 80 {\n \(line)\n TCP_CHECK { }\n notify_up \"/bin/echo \(address)\"\n}\n"
        }
        let outcome = try ImportLab().read(
            "global_defs {\n \(global)\n}\nvirtual_server 10.0.0.100 80 {\n lvs_method TUN\n protocol TCP\n"
                + " quorum_up \"/bin/echo quorum\"\n" + servers.joined() + "}\n")
        let notification = try #require(outcome.configuration[address("10.0.0.100:80")]?.notification)
        #expect(notification.tellsAtStart)
        func tell(_ isStart: Bool) throws -> [String] {
            let events = [("quorum-regained", ""), ("server-up", "10.0.0.11"), ("server-up", "10.0.0.12")]
            return try events.map { event, server in
                var environment = ["IPVSD_EVENT": event, "IPVSD_SERVER": server]
                if isStart { environment["IPVSD_AT_START"] = "yes" }
                return try run(notification.command, environment).1.filter { $0 != "\n" }
            }.filter { !$0.isEmpty }
        }
        #expect(try tell(true) == told)
        #expect(try tell(false) == ["quorum", "10.0.0.11", "10.0.0.12"])
    }

    @Test("at-start is printed only if a program runs at the start")
    func withoutProgramsOfTheStartNothingIsTold() throws {
        let text = try ImportLab().read(ImportKeepalivedTests.service("notify_up \"/bin/echo x\"")).text
        #expect(!text.contains("at-start"))
        #expect(!text.contains("AT_START"))
        let alpha = try ImportLab().read(
            ImportKeepalivedTests.service("notify_up \"/bin/echo x\"\n alpha\n TCP_CHECK { }")
        ).text
        #expect(alpha.contains("at-start: true"))
        #expect(!alpha.contains("AT_START"))
    }

    @Test(
        "misc_dynamic makes a weight of an exit code",
        arguments: [
            (0, 0, ""), (1, 1, ""), (2, 0, "0\n"), (12, 0, "10\n"), (255, 0, "253\n"), (127, 1, ""), (139, 1, ""),
        ] as [(Int, Int32, String)]
    )
    func anExitCodeIsAWeight(code: Int, expected: Int32, output: String) throws {
        let configuration = try configuration(
            "", "MISC_CHECK {\n misc_path \"/bin/sh -c 'echo 77; exit \(code)'\"\n misc_dynamic\n }")
        guard case .listed(let checks) = configuration[address("10.0.0.100:80")]?.checks,
            case .script(let script)? = checks.first?.check
        else {
            Issue.record("no script")
            return
        }
        let (status, text) = try run(script.arguments)
        #expect(status == expected)
        #expect(text == output)
    }
}
