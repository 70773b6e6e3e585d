import ArgumentParser
import Control
import Director
import Logging
import ServiceConfiguration
import ServiceLifecycle
import UnixSignals

/// Reads the configuration file again and applies it to the director, as a whole or not at all.
struct Reloader: Sendable {
    let director: Director
    /// The configuration file; nil: the configuration came from flags.
    let file: String?
    let log: LogOutput
    let logger: Logger

    /// Reads and applies the file. Returns a summary of the changes, or the refusal, which is also logged.
    func reload(while isAwaited: @Sendable () -> Bool = { true }) async -> Result<String, ReloadRefusal> {
        do {
            guard let file else {
                throw Failure(.badValue, "the director was started without --config: there is no file to read again")
            }
            let wanted: DirectorConfiguration
            do { wanted = try ConfigurationFile.read(file) } catch { throw Failure(.badValue, "\(error)") }
            do {
                let summary = try await director.reload(wanted, while: isAwaited)
                log.format = wanted.logFormat
                return .success(summary)
            } catch { throw Failure(DirectorError(error)) }
        } catch {
            let failure = error as? Failure ?? Failure(.kernel, "\(error)")
            let metadata = file.map { ["path": Logger.MetadataValue.string($0)] }
            for line in failure.description.split(separator: "\n") { logger.error("\(line)", metadata: metadata) }
            logger.error("not reloaded: the configuration stays as it was", metadata: metadata)
            return .failure(ReloadRefusal(code: failure.code.rawValue, message: failure.description))
        }
    }
}

/// Reloads on SIGHUP, which init systems send for a reload.
struct ReloadOnHangup: Service {
    let reloader: Reloader

    func run() async throws {
        for await _ in await UnixSignalsSequence(trapping: .sighup).cancelOnGracefulShutdown() {
            _ = await reloader.reload()
        }
    }
}

/// `ipvsd reload`: a request to the daemon to read its configuration file again.
struct Reload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Read the configuration file again, as on SIGHUP.",
        discussion: """
            The change is made as a whole, and connections of unchanged services stay. After an error the director goes on \
            as before. The errors are printed, and the exit code is that of a start with them (64 for the file's own).

            Exit code 3: no daemon runs, or it does not answer.
            """)

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            let summary = try await RunningDirector(common, timeoutSeconds: 30).ask { director in
                do { return try await director.reload() } catch let refusal as ReloadRefusal {
                    throw Failure(Failure.Code(rawValue: refusal.code) ?? .kernel, refusal.message)
                }
            }
            print("reloaded: \(summary)")
        }
    }
}
