import Control
import Director
import HostState

extension RunningDirector {
    /// Undoes a stored drain, for the next start. Throws `failure`, the error about the missing daemon, where it
    /// cannot.
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

extension Cleanup {
    /// Prints the stored drains, which outlive a cleanup.
    func showKeptDrains(_ instance: InstancePaths) {
        let stored = StoredDrains(instance)
        let option = common.instanceName.map { " --instance \($0)" } ?? ""
        do {
            for drain in try stored.lines() {
                print(
                    "kept for the next start, in \(stored.path): \(drain.text) ('ipvsd undrain \(drain.server)\(option)')"
                )
            }
        } catch {
            print("kept: \(error)")
        }
    }
}
