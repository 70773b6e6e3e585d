import ArgumentParser
import Control
import Director
import Glibc
import HostState

/// `ipvsd stop`: ends the daemon.
struct Stop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "End the director and remove what it put into this machine.")

    @Flag(help: "Leave the data plane forwarding; the next start takes it over.")
    var keep = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            let director = try RunningDirector(common)
            try await director.ask { try await $0.stop(keep: keep) }
            let instance = director.instance
            // It holds the lock until it is done.
            for _ in 0..<1000 {
                if let lock = try FileLock(path: instance.lock) {
                    lock.removeFile()
                    instance.removeRunDirectoryIfEmpty()
                    print(keep ? "stopped; the data plane goes on forwarding" : "stopped")
                    return
                }
                try await Task.sleep(for: .milliseconds(10))
            }
            throw Failure(.kernel, "the director (pid \(Daemon.pid(instance))) did not end within 10 s")
        }
    }
}

/// `ipvsd cleanup`: removes what a dead director left.
struct Cleanup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Remove everything that a director left in this machine, without one running.")

    @Flag(help: "Print what would be removed.")
    var dryRun = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            try requireRoot()
            let instance = try common.instance()
            if dryRun {
                let journalled = try ChangeJournal.read(path: instance.journal)
                let changes = journalled + (try Director.leftovers(instance, besides: journalled))
                for change in changes.reversed() { print("would remove \(change)") }
                if changes.isEmpty { print("nothing to remove") }
                return
            }
            guard let lock = try FileLock(path: instance.lock) else {
                throw Failure(
                    .alreadyRunning, "a director runs with pid \(Daemon.pid(instance)); 'ipvsd stop' ends it first")
            }
            defer {
                unlink(instance.controlSocket)
                unlink(instance.pidFile)
                lock.removeFile()
                instance.removeRunDirectoryIfEmpty()
            }
            switch try Director.cleanup(instance: instance, logger: common.logger()) {
            case nil: print("nothing to remove")
            case true?: print("removed everything")
            case false?: throw Failure(.kernel, "not everything could be removed")
            }
        }
    }
}
