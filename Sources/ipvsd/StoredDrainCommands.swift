import Control
import Director
import HostState

/// `drain` and `undrain` where no director runs: for the next start.
extension RunningDirector {
    /// What the daemon says; without one, and without a data plane, what was written down, and where.
    func drains(
        _ verb: String, _ body: (ControlClient) async throws -> DrainReport,
        stored change: (StoredDrains) throws -> DrainReport
    ) async throws -> (DrainReport, stored: StoredDrains?) {
        do {
            return (try await ask(body), nil)
        } catch let failure as Failure where failure.code == .noDaemon {
            guard let lock = try FileLock(path: instance.lock) else { throw failure }
            defer {
                lock.removeFile()
                instance.removeRunDirectoryIfEmpty()
            }
            guard !Director.hasDataPlane(instance) else {
                throw Failure(
                    .noDaemon,
                    "\(failure), but its data plane forwards, and weights, quorums and sorry servers are a director's business: "
                        + "start it as before (it takes over, and connections stay), then \(verb); or 'ipvsd cleanup' first"
                )
            }
            let drains = StoredDrains(instance)
            return (try change(drains), drains)
        }
    }
}

extension DrainReport {
    /// What was written down for the next start.
    func show(_ stored: StoredDrains, isDrained: Bool, isJSON: Bool) throws {
        if isJSON { return print(try json()) }
        let state = isDrained ? "drained\(changed ? "" : " already")" : changed ? "undrained" : "not drained"
        let then =
            changed ? "what the next start heeds is in \(stored.path)" : "nothing has changed in \(stored.path)"
        print("\(server) is \(state): no director runs here, and nothing forwards; \(then)")
    }
}

extension Cleanup {
    /// Drains outlive a cleanup, so that nobody may forget them.
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
