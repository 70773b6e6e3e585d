import ArgumentParser
import Control
import Director
import HostState

/// The daemon of an instance as a command reaches it, on the control socket.
struct RunningDirector {
    let instance: InstancePaths
    private let client: ControlClient

    init(_ common: CommonOptions, timeoutSeconds: Int64 = 5) throws {
        try requireRoot()
        instance = try common.instance()
        client = ControlClient(socket: instance.controlSocket, timeoutSeconds: timeoutSeconds)
    }

    /// Sends a request. A refusal of the daemon is thrown as it is. Any other error means that no daemon runs, or that
    /// it does not answer.
    func ask<Answer>(_ body: (ControlClient) async throws -> Answer) async throws -> Answer {
        do {
            return try await body(client)
        } catch let error as DirectorError {
            throw error
        } catch let error as Failure {
            throw error
        } catch let code as ExitCode {
            throw code
        } catch {
            throw try Failure.unanswered(error, instance)
        }
    }
}
