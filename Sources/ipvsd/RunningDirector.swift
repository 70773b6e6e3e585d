import ArgumentParser
import Control
import Director
import HostState

/// The daemon, which is asked and may not be there.
struct RunningDirector {
    let instance: InstancePaths
    private let client: ControlClient

    init(_ common: CommonOptions, timeoutSeconds: Int64 = 5) throws {
        try requireRoot()
        instance = try common.instance()
        client = ControlClient(socket: instance.controlSocket, timeoutSeconds: timeoutSeconds)
    }

    /// What it refuses, it says itself; whatever else goes wrong, there is none, or it does not answer.
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
