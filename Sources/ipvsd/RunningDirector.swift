import ArgumentParser
import Control
import Director
import HostState

/// The daemon of an instance as a command reaches it, on the control socket.
struct RunningDirector {
    let instance: InstancePaths
    private let client: ControlClient

    init(_ common: CommonOptions, timeoutSeconds: Int64 = 5) throws {
        try requireRoot()
        instance = try common.instance()
        client = ControlClient(socket: instance.controlSocket, timeoutSeconds: timeoutSeconds)
    }

    /// Sends a request. Throws a `DirectorError`, a `Failure` or an exit code of `body` as it is. Turns any other error
    /// into a failure that says why no daemon answers.
    func ask<Answer>(_ body: (ControlClient) async throws -> Answer) async throws -> Answer {
        do {
            return try await body(client)
        } catch let error as DirectorError {
            throw error
        } catch let error as Failure {
            throw error
        } catch let code as ExitCode {
            throw code
        } catch {
            throw try Failure.unanswered(error, instance)
        }
    }
}

extension Failure {
    /// Returns the failure of a request without an answer. Its text depends on whether a daemon runs, starts or is
    /// silent.
    static func unanswered(_ error: any Error, _ instance: InstancePaths) throws -> Failure {
        if let refusal = error as? ControlClient.Refusal { return Failure(.noDaemon, "\(refusal)") }
        if try !FileLock.isHeld(instance.lock) {
            return Failure(.noDaemon, "no director runs here (nobody listens on \(instance.controlSocket))")
        }
        let daemon = "the director (pid \(Daemon.pid(instance)))"
        if let tooLarge = error as? ControlClient.TooLarge { return Failure(.noDaemon, "\(daemon) gives \(tooLarge)") }
        guard let silence = error as? ControlClient.Silence else {
            return Failure(.noDaemon, "\(daemon) is starting or ending, and takes no requests")
        }
        let consequence = silence.isVoid ? "; it will not do what it has not begun" : ""
        return Failure(.noDaemon, "\(daemon) does not answer (for \(silence.seconds) s)\(consequence)")
    }
}

/// A daemon that has accepted a stop, until its process has ended.
struct Ending {
    let instance: InstancePaths
    /// The daemon's process id, as in its file, or "unknown".
    let pid: String

    /// The longest wait. Removing thousands of VIPs takes seconds on a busy machine.
    static let patience = Duration.seconds(120)
    private static let news = Duration.seconds(10)

    /// Waits for the instance's lock, which the daemon holds for its lifetime. Returns nil where another daemon has
    /// taken the lock meanwhile. Throws after `patience`.
    func lock() async throws -> FileLock? {
        let began = ContinuousClock.now
        var told = Duration.zero
        while true {
            if let lock = try FileLock(path: instance.lock) { return lock }
            if ![pid, "unknown"].contains(Daemon.pid(instance)) { return nil }
            let waited = began.duration(to: .now)
            guard waited < Self.patience else {
                throw Failure(
                    .kernel,
                    "the director (pid \(pid)) has not ended within \(Self.patience.components.seconds) s; the stop is "
                        + "accepted, and may still succeed")
            }
            if waited - told >= Self.news {
                told = waited
                Failure.write("the director (pid \(pid)) is still ending, after \(waited.components.seconds) s")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }
}
