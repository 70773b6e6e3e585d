import ArgumentParser
import Director
import Testing

@testable import ipvsd

/// Exit codes by their meanings.
struct ExitCodeTests {
    private static let meanings: [(code: Failure.Code, meaning: String)] = [
        (.badValue, "a bad value"), (.interface, "an interface is missing or busy"), (.kernel, "the kernel refuses"),
        (.alreadyRunning, "already running"), (.noPrivilege, "no privilege"), (.output, "not all could be printed"),
        (.changed, "import: something behaves otherwise"), (.noDaemon, "no daemon"),
        (.connectionsLeft, "drain: connections are left"), (.notDrained, "drain: refused, or undrained meanwhile"),
    ]

    @Test("exit codes have the recorded meanings")
    func codes() throws {
        #expect(Set(Self.meanings.map(\.code)) == Set(Failure.Code.allCases), "failures without a meaning here")
        var lines = Self.meanings.map { "\(Failure($0.code, "").report().rawValue) \($0.meaning)" }
        lines += DirectorError.Kind.allCases.map { kind in
            "\(Failure(DirectorError(kind, "")).report().rawValue) refusal \(kind.rawValue)"
        }
        lines.append("\(Consultation.faultsFound.rawValue) doctor: faults found")
        for (arguments, meaning) in [
            (["--help"], "help"), (["--version"], "version"), (["--no-such-flag"], "unknown flag"),
            (["status", "--no-such-flag"], "unknown flag of a command"), (["drain"], "missing argument"),
        ] {
            lines.append("\(Self.exitCode(of: arguments)) \(meaning)")
        }
        try Snapshot.expect(lines, in: "exit-codes.txt")
    }

    /// The exit code of a command line that is refused, or that asks for help.
    private static func exitCode(of arguments: [String]) -> Int32 {
        do {
            var command = try RootCommand.parse(asTyped: arguments)
            try command.run()
            return 0
        } catch { return RootCommand.exitCode(for: error).rawValue }
    }

    @Test("a command ends with the exit code", arguments: [("every-key.yaml", 64), ("smallest.yaml", 0)])
    func checkOfFile(name: String, code: Int32) async throws {
        // The programs and files that every-key.yaml names are not there.
        let path = Snapshot.sibling("Fixtures/\(name)")
        let command = try #require(try RootCommand.parse(asTyped: ["check", path]) as? ipvsd.Check)
        do {
            try await command.run()
            #expect(code == 0)
        } catch { #expect(ipvsd.Check.exitCode(for: error).rawValue == code) }
    }
}
