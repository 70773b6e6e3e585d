import Control
import Director
import Glibc
import HostState
import Logging
import ServiceConfiguration
import ServiceLifecycle
import Synchronization
import UnixSignals

/// The one director of an instance: holds its lock as long as it lives.
struct Daemon {
    let instance: InstancePaths
    private let lock: FileLock

    /// Takes the lock; with a configuration to take over with it asks the daemon that holds it to end and leave the
    /// data plane, once it is clear that nothing else is in the way.
    static func claim(_ instance: InstancePaths, replacing wanted: DirectorConfiguration?) async throws -> Daemon {
        if let daemon = try attempt(instance) { return daemon }
        guard let wanted else {
            throw Failure(.alreadyRunning, "already running with pid \(pid(instance)) (--replace takes over)")
        }
        try Director.preflight(wanted, instance: instance)
        try? await ControlClient(socket: instance.controlSocket).stop(keep: true)
        for _ in 0..<500 {
            if let daemon = try attempt(instance) { return daemon }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw Failure(.alreadyRunning, "pid \(pid(instance)) did not hand over within 5 s")
    }

    private static func attempt(_ instance: InstancePaths) throws -> Daemon? {
        do {
            guard let lock = try FileLock(path: instance.lock) else { return nil }
            return Daemon(instance: instance, lock: lock)
        } catch {
            throw Failure(DirectorError(error))
        }
    }

    /// Of the daemon that runs, as it wrote it down.
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

    /// `file` is where the configuration is from, and is read again on SIGHUP and by `ipvsd reload`.
    func run(_ configuration: DirectorConfiguration, file: String?, logger: Logger) async throws {
        try writePID()
        let director = Director(configuration: configuration, instance: instance, logger: logger)
        let reloader = Reloader(director: director, file: file, logger: logger)
        let keep = Mutex(false)
        let handOver = HandOver()
        let control = ControlServer.application(director: director, socket: instance.controlSocket, logger: logger) {
            await reloader.reload()
        } stop: { keepsDataPlane in
            handOver.request(keep: keepsDataPlane)
        }
        let metrics = [configuration.metricsListen].compactMap(\.self).map {
            MetricsListener(director: director, address: $0, logger: logger)
        }
        var quiet = logger
        quiet.logLevel = .critical
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [
                    .init(service: DirectorService(director: director)),
                    .init(service: control),
                ] + metrics.map { .init(service: $0) }
                    + (file == nil ? [] : [.init(service: ReloadOnHangup(reloader: reloader))]),
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

/// Carries the control API's request to stop to the group, which is made after the API.
private final class HandOver: Sendable {
    private let action = Mutex<(@Sendable (Bool) -> Void)?>(nil)

    func onRequest(_ action: @escaping @Sendable (Bool) -> Void) { self.action.withLock { $0 = action } }

    func request(keep: Bool) { action.withLock(\.self)?(keep) }
}
