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

    /// Returns a summary of the changes, or why there are none. A refusal is logged, too.
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

/// Reloads on SIGHUP, the signal of init systems for it.
struct ReloadOnHangup: Service {
    let reloader: Reloader

    func run() async throws {
        for await _ in await UnixSignalsSequence(trapping: .sighup).cancelOnGracefulShutdown() {
            _ = await reloader.reload()
        }
    }
}
