import Control
import Director
import Logging
import ServiceConfiguration
import ServiceLifecycle
import UnixSignals

/// Reads the configuration file again and has the director follow it: all of it, or nothing.
struct Reloader: Sendable {
    let director: Director
    /// Nil: the configuration came from flags.
    let file: String?
    let logger: Logger

    /// What changed, in a line; what went wrong is in the log, too.
    func reload(while isAwaited: @Sendable () -> Bool = { true }) async -> Result<String, ReloadRefusal> {
        do {
            guard let file else {
                throw Failure(.badValue, "the director was started without --config: there is no file to read again")
            }
            let wanted: DirectorConfiguration
            do { wanted = try ConfigurationFile.read(file) } catch { throw Failure(.badValue, "\(error)") }
            do { return .success(try await director.reload(wanted, while: isAwaited)) } catch {
                throw Failure(DirectorError(error))
            }
        } catch {
            let failure = error as? Failure ?? Failure(.kernel, "\(error)")
            for line in failure.description.split(separator: "\n") { logger.error("\(line)") }
            logger.error("not reloaded: the configuration stays as it was")
            return .failure(ReloadRefusal(code: failure.code.rawValue, message: failure.description))
        }
    }
}

/// SIGHUP, by which init systems ask daemons to read their files again.
struct ReloadOnHangup: Service {
    let reloader: Reloader

    func run() async throws {
        for await _ in await UnixSignalsSequence(trapping: .sighup).cancelOnGracefulShutdown() {
            _ = await reloader.reload()
        }
    }
}
