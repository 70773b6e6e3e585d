import ArgumentParser
import Control
import Director
import Glibc
import HostState
import LoadBalancing

/// `ipvsd stop`: a request to the daemon to end.
struct Stop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "End the director, and undo its changes of the host.",
        discussion: """
            Waits until the daemon has ended, for \(Ending.patience.components.seconds) s at most. With thousands of VIPs this takes seconds.

            Exit codes: 3 no daemon runs, or it does not answer, 71 the daemon has not ended in that time, or has ended and \
            left something, which is named, 77 no privilege.
            """)

    @Flag(help: "Leave the data plane forwarding; the next start takes it over.")
    var keep = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            let director = try RunningDirector(common)
            let instance = director.instance
            let pid = Daemon.pid(instance)
            do { try await director.ask { try await $0.stop(keep: keep) } } catch let failure as Failure
                where failure.code == .noDaemon
            {
                guard try !FileLock.isHeld(instance.lock), XDPDataPlanes().isPresent(instance) else {
                    throw failure
                }
                throw Failure(
                    .noDaemon,
                    "\(failure), but its data plane forwards: 'ipvsd cleanup' removes it, a start takes it over")
            }
            guard let lock = try await Ending(instance: instance, pid: pid).lock() else {
                return print("stopped; another director, with pid \(Daemon.pid(instance)), runs here now")
            }
            defer {
                lock.removeFile()
                instance.removeRunDirectoryIfEmpty()
            }
            let left = keep ? [] : try ChangeJournal.read(path: instance.journal)
            guard left.isEmpty else {
                throw Failure(
                    .kernel,
                    "the director has ended and left in this machine: \(left.reversed().map(\.description).listed); "
                        + "'ipvsd cleanup' removes it")
            }
            print(keep ? "stopped; the data plane goes on forwarding" : "stopped")
        }
    }
}

/// `ipvsd cleanup`: the removal of an ended director's changes.
struct Cleanup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Remove everything that an ended director left.",
        discussion: """
            Refused while a director runs. Drains are kept for the next start, and named; 'ipvsd undrain' takes them back, also without a director.

            Exit codes: 71 not everything could be removed (another run tries again), 75 a director runs, 77 no privilege.
            """)

    @Flag(help: "Print what would be removed, one thing a line.")
    var dryRun = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            try requireRoot()
            let instance = try common.instance()
            if dryRun {
                guard try !FileLock.isHeld(instance.lock) else { throw isRunning(instance) }
                let journalled = try ChangeJournal.read(path: instance.journal)
                let changes = journalled + (try XDPDataPlanes().leftovers(instance, besides: journalled))
                for change in changes.reversed() { print("would remove \(change)") }
                if changes.isEmpty { print("nothing to remove") }
                return showKeptDrains(instance)
            }
            guard let lock = try FileLock(path: instance.lock) else { throw isRunning(instance) }
            defer {
                unlink(instance.controlSocket)
                unlink(instance.pidFile)
                lock.removeFile()
                instance.removeRunDirectoryIfEmpty()
            }
            let isComplete = try Director.cleanup(
                instance: instance, dataPlanes: XDPDataPlanes(), logger: common.logger())
            if isComplete != false { print(isComplete == nil ? "nothing to remove" : "removed everything") }
            showKeptDrains(instance)
            if isComplete == false { throw Failure(.kernel, "not everything could be removed") }
        }
    }

    private func isRunning(_ instance: InstancePaths) -> Failure {
        Failure(.alreadyRunning, "a director runs with pid \(Daemon.pid(instance)); 'ipvsd stop' ends it first")
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
