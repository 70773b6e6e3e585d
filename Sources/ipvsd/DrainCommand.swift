import ArgumentParser
import Control
import Director
import FoundationEssentials
import Glibc
import HostState
import ServiceConfiguration

/// `ipvsd drain`: the beginning of a real server's maintenance.
struct Drain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Give a real server no new connections.",
        discussion: """
            The real server gets weight 0 (IPVS: it is quiesced). Its connections go on, and new ones go to the others. It \
            stays drained until 'ipvsd undrain', also after restarts of the daemon, reloads and reboots, and in services \
            that are configured later. Checks go on meanwhile.

              ipvsd drain 10.0.0.11 --wait && ssh 10.0.0.11 reboot
              ipvsd drain 10.0.0.11 --service 10.0.0.100:80 --timeout 5m

            With --wait or --timeout the command shows the connections that are left, and returns 0 when there are none, \
            active or inactive. A closing connection expires two minutes after its last packet, and a UDP flow after five \
            (\(Options.tcpFinTimeout.flagName) and \(Options.udpTimeout.flagName) of the director). At the time-out the real \
            server stays drained and keeps its TCP connections. Its datagrams follow the service's \
            \(Options.onServerRemoval.flagName), since a steady sender would otherwise stay for ever. An interrupted command \
            moves no datagrams.

            Clients of a persistent service return to their real server within the persistence's time, as with IPVS by \
            default. So such a drain may never end. With --move-persistent a client's next connections go to another real \
            server, also after the real server is undrained, as with IPVS's expire_quiescent_template=1. Its present \
            connections go on. The flag may also follow on a real server that is drained already.

            Exit codes: 0 drained (with --wait: no connection is left), 3 no daemon runs, 4 connections are left at the \
            time-out, 5 refused: a service would lose its quorum (--force drains all the same), or an operator undrained \
            the real server meanwhile, 64 no such real server or service, 71 the kernel or the disk refuses the change, \
            and nothing has changed.
            """)

    @Argument(help: ArgumentHelp("The real server's address.", valueName: "server"))
    var server: String

    @Option(
        help: ArgumentHelp(
            "Only in this service, as A.B.C.D:PORT[/udp]. Default: in all that have the real server.",
            valueName: "address"))
    var service: String?

    @Option(
        help: ArgumentHelp(
            "Wait until no connection is left, but no longer than this. Then datagrams follow "
                + "\(Options.onServerRemoval.flagName).",
            valueName: "duration"))
    var timeout: String?

    @Flag(help: "Wait until no connection is left.")
    var wait = false

    @Flag(help: "Drain the real server even if a service loses its quorum.")
    var force = false

    @Flag(help: "Move clients of persistent services with their next connection.")
    var movePersistent = false

    @Flag(help: "Print JSON: an object when the real server is drained, with --wait one more for each change.")
    var json = false

    @OptionGroup var common: CommonOptions

    private static let accepted: ClosedRange<Duration> = .seconds(1) ... .seconds(7 * 86_400)

    func run() async throws {
        try await reporting {
            let limit = try timeout.map { text in
                try valid("--timeout \(text)") { () throws(InvalidValue) in
                    try DurationText.parse(text, in: Self.accepted)
                }
            }
            let director = try RunningDirector(common)
            let wanted = DrainRequest(
                server: server, service: service, force: force, movePersistent: movePersistent)
            let report = try await director.ask { try await $0.drain(wanted) }
            let watch = DrainWatch(wanted: wanted, director: director, isJSON: json)
            try watch.show(report)
            if wait || limit != nil { try await watch.run(from: report, limit: limit) }
        }
    }
}

/// `ipvsd undrain`: the end of a real server's maintenance.
struct Undrain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Give a drained real server new connections again.",
        discussion: """
            Without --service the drain ends in all services. Slow start gives the real server its share step by step. \
            Where no daemon runs and nothing forwards, the command removes a stored drain, for the next start.

            Exit codes: 3 no daemon runs (and no such drain is stored, or the data plane forwards without a daemon), 64 no \
            such real server or service, 71 the kernel or the disk refuses the change, and nothing has changed.
            """)

    @Argument(help: ArgumentHelp("The real server's address.", valueName: "server"))
    var server: String

    @Option(
        help: ArgumentHelp(
            "Only in this service, as A.B.C.D:PORT[/udp], in which it was drained.", valueName: "address"))
    var service: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            let wanted = DrainRequest(server: server, service: service)
            let director = try RunningDirector(common)
            let report: DrainReport
            do { report = try await director.ask { try await $0.undrain(wanted) } } catch let failure as Failure
                where failure.code == .noDaemon
            {
                return try director.undrainStored(wanted, insteadOf: failure, isJSON: json)
            }
            if json { return print(try report.json()) }
            let services = report.services.map(\.service).joined(separator: ", ")
            let place = services.isEmpty ? "" : " in \(services)"
            print("\(report.server) is \(report.changed ? "undrained" : "not drained")\(place)")
            report.warnIfNotInForce()
        }
    }
}

extension DrainReport {
    /// Returns the report as JSON on one line.
    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }

    func warnIfNotInForce() {
        guard !isInForce else { return }
        let warning =
            "ipvsd: warning: the kernel refuses a change of the services; the director tries it again every second\n"
        _ = write(STDERR_FILENO, warning, warning.utf8.count)
    }
}

/// The output of `drain`: the change, and with `--wait` the connections that are left.
struct DrainWatch {
    let wanted: DrainRequest
    let director: RunningDirector
    let isJSON: Bool

    /// The longest time without an answer, such as during a restart of the daemon.
    private static let patience = Duration.seconds(30)
    private static let period = Duration.milliseconds(500)

    /// Prints the change, service by service.
    func show(_ report: DrainReport) throws {
        if isJSON { return say(try report.json()) }
        for service in report.services {
            say(
                "\(report.server) in \(service.service): drained\(report.changed ? "" : " since \(service.drained ?? "")"), "
                    + Self.remaining(service.active, service.inactive))
            if let seconds = service.persistence {
                say(
                    service.movesPersistent
                        ? "  persistent clients go elsewhere with their next connection"
                        : "  persistent clients of the last \(DurationText.format(.seconds(seconds))) keep coming"
                            + " (--move-persistent: they do not)")
            }
        }
        report.warnIfNotInForce()
    }

    /// Waits until no connection is left and the drain is in force. After `limit`, has the services' datagrams leave
    /// the real server, and throws.
    func run(from report: DrainReport, limit: Duration?) async throws {
        let clock = ContinuousClock()
        let began = clock.now
        var shown = report
        var heard = clock.now
        let isTerminal = isatty(STDOUT_FILENO) == 1 && !isJSON
        if isTerminal { rewrite(report, after: .zero) }
        while shown.active + shown.inactive > 0 || !shown.isInForce {
            if let limit, clock.now - began >= limit {
                if isTerminal { say("") }
                var moving = wanted
                (moving.moveDatagrams, moving.onlyIfDrained) = (true, true)
                while true {
                    do {
                        _ = try await director.ask { try await $0.drain(moving) }
                        break
                    } catch {
                        guard Self.isAbsence(error), clock.now - heard < Self.patience else { throw error }
                        try await clock.sleep(for: Self.period)
                    }
                }
                throw Failure(
                    .connectionsLeft,
                    "\(shown.server): \(Self.remaining(UInt32(shown.active), UInt32(shown.inactive))) after "
                        + "\(DurationText.format(limit)); it stays drained and keeps its TCP connections; its datagrams follow "
                        + Options.onServerRemoval.flagName
                        + (shown.isInForce ? "" : "; the kernel still refuses the drain"))
            }
            let rest = limit.map { max($0 - (clock.now - began), .zero) } ?? Self.period
            try await clock.sleep(for: min(Self.period, rest))
            let now: DrainReport
            do { now = try await director.ask { try await $0.drainReport(wanted) } } catch {
                if Self.isAbsence(error), clock.now - heard < Self.patience { continue }
                throw error
            }
            heard = clock.now
            guard now.isDrained else {
                throw Failure(.notDrained, "\(now.server) is no longer drained: somebody has undrained it")
            }
            if isTerminal {
                rewrite(now, after: clock.now - began)
            } else if now.active != shown.active || now.inactive != shown.inactive || now.isInForce != shown.isInForce {
                say(
                    isJSON
                        ? try now.json() : "\(now.server): \(Self.remaining(UInt32(now.active), UInt32(now.inactive)))")
            }
            shown = now
        }
        if isTerminal { say("") }
        if !isJSON { say("\(shown.server): no connections are left") }
    }

    /// Returns whether the error says that no daemon answers, or that the daemon is starting or stopping.
    private static func isAbsence(_ error: any Error) -> Bool {
        error is Failure || (error as? DirectorError)?.kind == .alreadyRunning
    }

    private static func remaining(_ active: UInt32, _ inactive: UInt32) -> String {
        "\(active) active and \(inactive) inactive connections are left"
    }

    private func say(_ line: String) {
        print(line)
        fflush(nil)
    }

    /// Overwrites the terminal's current line with the state of the wait.
    private func rewrite(_ report: DrainReport, after elapsed: Duration) {
        let line = Self.remaining(UInt32(report.active), UInt32(report.inactive))
        Swift.print("\r\(report.server): \(line) after \(elapsed.components.seconds) s\u{1B}[K", terminator: "")
        fflush(nil)
    }
}

extension RunningDirector {
    /// Removes a stored drain, so that the next start does not apply it. `failure` is the error about the missing
    /// daemon, which is thrown, or quoted, where no drain can be removed.
    func undrainStored(_ wanted: DrainRequest, insteadOf failure: Failure, isJSON: Bool) throws {
        guard let lock = try FileLock(path: instance.lock) else { throw failure }
        defer {
            lock.removeFile()
            instance.removeRunDirectoryIfEmpty()
        }
        let drains = StoredDrains(instance)
        guard !XDPDataPlanes().isPresent(instance) else {
            throw Failure(
                .noDaemon,
                "\(failure), but its data plane forwards, and weights, quorums and sorry servers are a director's "
                    + "business: start it as before (it takes over, and connections stay), then undrain; or "
                    + "'ipvsd cleanup' first"
            )
        }
        let report = try drains.undrain(wanted)
        guard report.changed else {
            throw Failure(.noDaemon, "\(failure); nor is \(report.server) drained in \(drains.path)")
        }
        if isJSON { return print(try report.json()) }
        print(
            "\(report.server) is undrained: no director runs here, and nothing forwards; what the next start heeds is in "
                + drains.path)
    }
}
