import HostState

/// A daemon that has accepted a stop, until its process has ended.
struct Ending {
    let instance: InstancePaths
    /// The content of its file of the process id.
    let pid: String

    /// The longest wait. Removing thousands of VIPs takes seconds on a busy machine.
    static let patience = Duration.seconds(120)
    private static let news = Duration.seconds(10)

    /// Waits for the daemon's lock, which it holds for its lifetime. Returns nil where another daemon has taken it.
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
