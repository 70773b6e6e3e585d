import ArgumentParser
import FoundationEssentials

/// `ipvsd-bench failover`: a real server's death as its clients see it.
struct FailoverCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "failover",
        abstract: "Kills a real server under a client's load, in several ways, and counts what the client sees.",
        discussion: """
            Client, director and three real servers are network namespaces on a switch; needs root, iproute2, ethtool, \
            nftables and procps. The client sends requests at fixed times, each on a new TCP connection, and gives up \
            after 5 s. "Last SYN" and "last packet" are the last ones of the client that the director sent to the dead \
            server, as seen on the switch. Times are seconds from the death.
            """)

    @Option(help: "The program ipvsd; by default the one beside this.")
    var ipvsd: String?

    @Option(help: "Requests a second.")
    var rate = 500

    @Option(help: "Seconds of load after the death. 3 s of load precede it.")
    var seconds = 17

    @Option(help: "The number of long downloads at the same time.")
    var downloads = 6

    @Option(help: "The number of runs of each case.")
    var rounds = 1

    @Option(help: ArgumentHelp("process, host, tunnel, firewall.", valueName: "deaths"))
    var cases = FailoverCase.allCases.map(\.key).joined(separator: ",")

    @Option(help: ArgumentHelp("default, fast, and for comparison equal, keepalived.", valueName: "settings"))
    var settings = "default,fast"

    @Flag(help: "Exit with 1 where ipvsd misses one of the lines printed below the table.")
    var lines = false

    @Flag(help: "Print JSON.")
    var json = false

    private static let before = 3

    func validate() throws {
        guard (1...20_000).contains(rate) else { throw ValidationError("--rate: 1 to 20000") }
        guard (1...3600).contains(seconds) else { throw ValidationError("--seconds: 1 to 3600") }
        guard (0...100).contains(downloads) else { throw ValidationError("--downloads: 0 to 100") }
        guard (1...100).contains(rounds) else { throw ValidationError("--rounds: 1 to 100") }
        _ = try (chosenCases(), chosenSettings())
    }

    private func chosenCases() throws -> [FailoverCase] {
        try cases.split(separator: ",").map { name in
            guard let found = FailoverCase.allCases.first(where: { $0.key == name }) else {
                throw ValidationError("--cases: \(name) is none of process, host, tunnel, firewall")
            }
            return found
        }
    }

    private func chosenSettings() throws -> [FailoverSettings] {
        try settings.split(separator: ",").map { name in
            guard let found = FailoverSettings.all.first(where: { $0.name == name }) else {
                throw ValidationError("--settings: \(name) is none of default, fast, equal, keepalived")
            }
            return found
        }
    }

    func run() throws {
        try Interruption.await()
        let ipvsd = try Tool.program(ipvsd, "ipvsd")
        let plan = FailoverRun.Plan(rate: rate, before: Self.before, after: seconds, downloads: downloads)
        var report = FailoverReport(rate: rate, plan: plan)
        for _ in 0..<rounds {
            for settings in try chosenSettings() {
                for death in try chosenCases() {
                    report.runs.append(
                        try FailoverRun(death: death, settings: settings, plan: plan, ipvsd: ipvsd).measure())
                }
            }
        }
        print(json ? try report.json() : report.table())
        if lines && !report.missed.isEmpty { throw ExitCode(1) }
    }
}
