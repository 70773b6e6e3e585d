import ArgumentParser
import FoundationEssentials
import Glibc
import Synchronization

/// `ipvsd-bench checks`: the CPU time and memory of checks of many real servers.
struct ChecksCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "checks",
        abstract: "CPU time and memory of a director that checks many real servers through the tunnel.",
        discussion: """
            A real ipvsd checks that many real servers (addresses of one network namespace with one listener) by TCP \
            connects. In the same round a bare loop of connects runs at the same rate through the same tunnel. The CPU \
            time is user and system time of the process, or the thread, and that of the ksoftirqd threads. Connections \
            are counted where they are accepted. Needs root, iproute2, ethtool and procps.
            """)

    @OptionGroup var options: BenchOptions

    @Option(help: "The program ipvsd; by default the one beside this.")
    var ipvsd: String?

    @Option(help: "The number of real servers.")
    var servers = 10_000

    @Option(help: "Seconds between two checks of a real server.")
    var interval = 2

    @Option(help: "Seconds of a measurement.")
    var seconds = 20

    @Flag(help: "Exit with 1 where it costs more than twice the bare loop, or more than 150 MB.")
    var lines = false

    private static let mostMemory = 150.0

    func validate() throws {
        guard (1...65_000).contains(servers) else { throw ValidationError("--servers: 1 to 65000") }
        guard (1...3600).contains(interval) else { throw ValidationError("--interval: 1 to 3600") }
        guard (1...3600).contains(seconds) else { throw ValidationError("--seconds: 1 to 3600") }
        guard servers / interval > 0 else { throw ValidationError("--servers: at least one check a second") }
    }

    func run() throws {
        try Interruption.await()
        let lab = try ChecksLab(program: Tool.program(ipvsd, "ipvsd"), servers: servers, interval: interval)
        defer { lab.tearDown() }
        let listener = CheckedListener()
        let thread = try NamespaceThread(namespace: lab.namespace("servers")) { listener.run(port: ChecksLab.port) }
        defer {
            listener.stop()
            thread.join()
        }
        var rounds: [ChecksRound] = []
        for _ in 0..<options.rounds {
            rounds.append(
                try ChecksRound.measure(
                    lab: lab, listener: listener, servers: servers, rate: servers / interval, seconds: seconds))
        }
        let sections = Self.sections(rounds, servers: servers, rate: servers / interval)
        try options.print(Report(sections: sections))
        guard lines else { return }
        let ratio = zip(rounds.map(\.director), rounds.map(\.bare)).map { $0 / $1 }.median
        let memory = rounds.map(\.memory).median
        if ratio > 2 || memory > Self.mostMemory { throw ExitCode(1) }
    }

    private static func sections(_ rounds: [ChecksRound], servers: Int, rate: Int) -> [Report.Section] {
        let (director, bare) = (rounds.map(\.director), rounds.map(\.bare))
        let ratio = zip(director, bare).map { $0 / $1 }.median
        func section(_ title: String, _ unit: String, _ rows: [Report.Row]) -> Report.Section {
            Report.Section(title: title, unit: unit, rounds: rounds.count, rows: rows)
        }
        let subject = "\(servers) real servers, \(rate) TCP checks a second"
        return [
            section(
                "Checks through the tunnel", "us of CPU time a check",
                [
                    Report.Row(
                        subject, "ipvsd", director,
                        [
                            Report.Figure(name: "x bare", value: ratio),
                            Report.Figure(name: "% of a core", value: rounds.map(\.directorShare).median * 100),
                        ]),
                    Report.Row(
                        subject, "bare epoll loop", bare,
                        [Report.Figure(name: "% of a core", value: rounds.map(\.bareShare).median * 100)]),
                ]),
            section(
                "Checks carried out", "a second",
                [
                    Report.Row(subject, "ipvsd", rounds.map(\.rate)),
                    Report.Row(subject, "bare epoll loop", rounds.map(\.bareRate)),
                ]),
            section(
                "Memory of the daemon", "MB",
                [
                    Report.Row(subject, "resident", rounds.map(\.memory)),
                    Report.Row(subject, "resident, but for the tables", rounds.map(\.ownMemory)),
                ]),
            section("From start to forwarding", "s", [Report.Row(subject, "ipvsd", rounds.map(\.start))]),
        ]
    }
}

/// The figures of one round, in which the director is measured first and the bare loop after it.
struct ChecksRound {
    /// The microseconds of CPU time of one check.
    var director: Double
    var bare: Double
    /// CPU time divided by the time of the measurement.
    var directorShare: Double
    var bareShare: Double
    /// Accepted connections a second.
    var rate: Double
    var bareRate: Double
    /// The daemon's resident memory in MB, with the BPF maps that it has mapped.
    var memory: Double
    /// The daemon's resident memory in MB, without these maps.
    var ownMemory: Double
    /// The seconds from the daemon's start until it forwards.
    var start: Double

    static func measure(
        lab: ChecksLab, listener: CheckedListener, servers: Int, rate: Int, seconds: Int
    ) throws -> ChecksRound {
        let began = nanoseconds()
        let director = try lab.startDirector()
        // Its tunnel stays in the kernel for the bare loop, as `stop --keep` below leaves it there.
        defer { director.end() }
        let forwarding = try awaitForwarding(director)
        try awaitPace(listener, rate: rate)

        let (time, count, cpu, deferred) = (
            nanoseconds(), listener.count, try director.cpuTime(), try softirqTime()
        )
        sleep(UInt32(seconds))
        let spent = try director.cpuTime() - cpu + softirqTime() - deferred
        let passed = Double(nanoseconds() - time) / 1e9
        let checks = Double(listener.count - count)
        guard checks >= 0.95 * passed * Double(rate) else {
            throw Failure("\(Int(checks / passed)) checks a second arrived, \(rate) should")
        }
        let up = lab.ipvsd("status", "--json").split(separator: "\n").count { $0.contains("\"health\" : \"up\"") }
        guard up == servers else { throw Failure("\(up) of \(servers) real servers are up:\n\(director.text)") }
        let memory = Double(try director.residentMemory()) / 1e6
        let tables = Double(try director.residentMemory(of: "anon_inode:bpf-map")) / 1e6

        _ = lab.ipvsd("stop", "--keep")
        let bare = Mutex(BareLoop.Result())
        let (before, idle) = (listener.count, try softirqTime())
        try NamespaceThread(namespace: lab.namespace("director")) {
            let result = BareLoop.run(rate: rate, seconds: seconds, servers: servers)
            bare.withLock { $0 = result }
        }.join()
        let result = bare.withLock { $0 }
        let bareSpent = result.cpu + (try softirqTime() - idle)
        guard result.answered == result.started, result.answered >= rate * seconds * 95 / 100 else {
            throw Failure("\(result.answered) of the bare loop's \(result.started) connects were answered")
        }
        return ChecksRound(
            director: spent / checks * 1e6, bare: bareSpent / Double(result.answered) * 1e6,
            directorShare: spent / passed, bareShare: bareSpent / result.seconds, rate: checks / passed,
            bareRate: Double(listener.count - before) / result.seconds, memory: memory, ownMemory: memory - tables,
            start: Double(forwarding - began) / 1e9)
    }

    /// Waits until the director logs that it forwards, and returns the time of the line.
    private static func awaitForwarding(_ director: LabProcess) throws -> UInt64 {
        for _ in 0..<12_000 {
            if let line = director.lines.first(where: { $0.text.contains("forwarding") }) { return line.time }
            usleep(10_000)
        }
        throw Failure("it does not forward:\n\(director.text)")
    }

    /// Waits until two measurements of 2 s in a row show the wanted rate of checks.
    private static func awaitPace(_ listener: CheckedListener, rate: Int) throws {
        var steady = 0
        for _ in 0..<60 {
            let (time, count) = (nanoseconds(), listener.count)
            sleep(2)
            let found = Double(listener.count - count) / Double(nanoseconds() - time) * 1e9
            steady = abs(found / Double(rate) - 1) < 0.1 ? steady + 1 : 0
            if steady == 2 { return }
        }
        throw Failure("checks do not come at their pace")
    }

    /// Returns the CPU time of all ksoftirqd threads, in seconds.
    private static func softirqTime() throws -> Double {
        var total = 0.0
        for process in 1..<4096 where Tool.text("/proc/\(process)/comm")?.hasPrefix("ksoftirqd/") == true {
            guard let field = Tool.text("/proc/\(process)/schedstat")?.split(separator: " ").first,
                let nanoseconds = Double(field)
            else { throw Failure("read /proc/\(process)/schedstat") }
            total += nanoseconds / 1e9
        }
        return total
    }
}
