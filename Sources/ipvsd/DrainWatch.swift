import Control
import Director
import Glibc
import ServiceConfiguration

/// The output of `drain`: the change, and with `--wait` the connections that are left.
struct DrainWatch {
    let wanted: DrainRequest
    let director: RunningDirector
    let isJSON: Bool

    /// The time for a restarted daemon to answer again.
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

    /// Waits until no connection is left. After `limit` it throws, and the service's datagrams leave the real server.
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

    /// Whether the error says that no daemon answers, or that it is still starting.
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

    /// Prints the state of the wait over the line before, on a terminal.
    private func rewrite(_ report: DrainReport, after elapsed: Duration) {
        let line = Self.remaining(UInt32(report.active), UInt32(report.inactive))
        Swift.print("\r\(report.server): \(line) after \(elapsed.components.seconds) s\u{1B}[K", terminator: "")
        fflush(nil)
    }
}
