import Control
import Director
import Glibc
import HostState
import Logging
import ServiceConfiguration
import ServiceLifecycle
import Synchronization
import UnixSignals

/// The daemon of an instance. It holds the instance's lock for its lifetime.
struct Daemon {
    let instance: InstancePaths
    private let lock: FileLock

    /// Takes the instance's lock. Throws if another daemon holds it and `wanted` is nil. Otherwise checks that a start
    /// with the configuration `wanted` would succeed, and has the other daemon end and leave the data plane. If that
    /// daemon accepts, waits for its end. If not, that daemon keeps running.
    static func claim(_ instance: InstancePaths, replacing wanted: DirectorConfiguration?) async throws -> Daemon {
        // SIGHUP would end the process before `ReloadOnHangup` handles it.
        signal(SIGHUP, SIG_IGN)
        if let daemon = try attempt(instance) { return daemon }
        let pid = pid(instance)
        guard let wanted else {
            throw Failure(.alreadyRunning, "already running with pid \(pid) (--replace takes over)")
        }
        do { try Director.preflight(wanted, instance: instance, dataPlanes: XDPDataPlanes()) } catch {
            let error = DirectorError(error)
            throw Failure(
                DirectorError(error.kind, "\(error); pid \(pid) is not replaced, and goes on as it was"))
        }
        if let daemon = try await askToHandOver(instance, pid: pid) { return daemon }
        guard let lock = try await Ending(instance: instance, pid: pid).lock() else {
            throw Failure(.alreadyRunning, "pid \(Self.pid(instance)) has taken over from pid \(pid) meanwhile")
        }
        return Daemon(instance: instance, lock: lock)
    }

    /// Requests a hand-over until the running daemon accepts, then returns nil. Returns this process's `Daemon`, with
    /// the lock, where the other daemon has ended meanwhile. Throws where the other daemon accepts no request for 5 s.
    private static func askToHandOver(_ instance: InstancePaths, pid: String) async throws -> Daemon? {
        let deadline = ContinuousClock.now + .seconds(5)
        while true {
            do {
                try await ControlClient(socket: instance.controlSocket).stop(keep: true)
                return nil
            } catch is ControlClient.Silence {
                throw Failure(.alreadyRunning, "pid \(pid) does not answer: it is not replaced, and goes on as it was")
            } catch {
                // The daemon does not listen yet, or does not listen any more.
                if let daemon = try attempt(instance) { return daemon }
                guard ContinuousClock.now < deadline else {
                    throw Failure(.alreadyRunning, "pid \(pid) took no request to hand over within 5 s")
                }
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    private static func attempt(_ instance: InstancePaths) throws -> Daemon? {
        do {
            guard let lock = try FileLock(path: instance.lock) else { return nil }
            return Daemon(instance: instance, lock: lock)
        } catch {
            throw Failure(DirectorError(error))
        }
    }

    /// Returns the process id in the running daemon's file, or "unknown".
    static func pid(_ instance: InstancePaths) -> String {
        guard let file = fopen(instance.pidFile, "r") else { return "unknown" }
        defer { fclose(file) }
        var pid: Int32 = 0
        return withUnsafeMutablePointer(to: &pid) { withVaList([$0]) { vfscanf(file, "%d", $0) } } == 1
            ? "\(pid)" : "unknown"
    }

    private func writePID() throws {
        guard let file = fopen(instance.pidFile, "w") else { throw Failure(.kernel, "write \(instance.pidFile)") }
        fputs("\(getpid())\n", file)
        fclose(file)
    }

    /// Runs the director until it is stopped. SIGHUP and `ipvsd reload` read `file` again; without a file both are
    /// refused.
    func run(_ configuration: DirectorConfiguration, file: String?, log: LogOutput, logger: Logger) async throws {
        try writePID()
        let director = Director(
            configuration: configuration, instance: instance, logger: logger, dataPlanes: XDPDataPlanes())
        let reloader = Reloader(director: director, file: file, log: log, logger: logger)
        let keep = Mutex(false)
        let handOver = HandOver()
        let control = ControlServer.application(director: director, socket: instance.controlSocket, logger: logger) {
            await reloader.reload(while: $0)
        } stop: { keepsDataPlane in
            handOver.request(keep: keepsDataPlane)
        }
        var services: [any Service] = [
            DirectorService(director: director), control, ReloadOnHangup(reloader: reloader),
        ]
        if let address = configuration.metricsListen {
            services.append(MetricsListener(director: director, address: address, logger: logger))
        }
        var quiet = logger
        quiet.logLevel = .critical
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                // A failing service shuts the others down without cancelling them. A cancelled server traps on a
                // connection that it has accepted and not yet read from (NIOAsyncWriter's deinit).
                services: services.map {
                    .init(
                        service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .gracefullyShutdownGroup)
                },
                gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet))
        handOver.onRequest { keepsDataPlane in
            keep.withLock { $0 = keepsDataPlane }
            Task { await group.triggerGracefulShutdown() }
        }
        defer { removeRunFiles() }
        do { try await group.run() } catch {
            _ = await director.stop()
            throw Failure(DirectorError(error))
        }
        if keep.withLock(\.self) {
            await director.writeWhatOutlivesDaemon()
            logger.notice("stopped; the data plane goes on forwarding ('ipvsd cleanup' removes it)")
            return
        }
        guard await director.stop() else {
            throw Failure(.kernel, "not everything could be removed; 'ipvsd cleanup' tries again")
        }
        logger.notice("stopped, and removed everything that ipvsd had put into this machine")
    }

    private func removeRunFiles() {
        unlink(instance.controlSocket)
        unlink(instance.pidFile)
        lock.removeFile()
        instance.removeRunDirectoryIfEmpty()
    }
}

/// Starts the director and keeps it running until the group shuts down.
private struct DirectorService: Service {
    let director: Director

    func run() async throws {
        try await director.start()
        await cancelWhenGracefulShutdown { await director.run() }
    }
}

/// The control API's request to stop, for the service group that is made after the API.
private final class HandOver: Sendable {
    private let action = Mutex<(@Sendable (Bool) -> Void)?>(nil)

    func onRequest(_ action: @escaping @Sendable (Bool) -> Void) { self.action.withLock { $0 = action } }

    func request(keep: Bool) { action.withLock(\.self)?(keep) }
}
