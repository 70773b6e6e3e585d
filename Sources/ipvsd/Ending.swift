import HostState

/// A daemon that has said that it ends, until it has.
struct Ending {
    let instance: InstancePaths
    /// As it wrote it down.
    let pid: String

    /// Removing thousands of VIPs takes seconds on a busy machine; more than this is a daemon that hangs.
    static let patience = Duration.seconds(120)
    private static let news = Duration.seconds(10)

    /// Its lock, which it holds as long as it lives; nil: another daemon has it already.
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
                    "the director (pid \(pid)) has not ended within \(Self.patience.components.seconds) s; it was told to, "
                        + "and still may")
            }
            if waited - told >= Self.news {
                told = waited
                Failure.write("the director (pid \(pid)) is still ending, after \(waited.components.seconds) s")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }
}
