import Control
import HostState

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
