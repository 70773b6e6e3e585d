import ArgumentParser
import Control
import Director
import HostState

/// `ipvsd status`: services, real servers and counters.
struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show services, real servers and counters.",
        discussion: """
            The table is like that of 'ipvsadm -Ln --stats'. Where no daemon answers, it shows the kernel's maps, if there \
            are any.

            Exit code 3: no daemon answers.
            """)

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            try requireRoot()
            let instance = try common.instance()
            do {
                try show(try await ControlClient(socket: instance.controlSocket, timeoutSeconds: 3).status())
                return
            } catch let refusal as ControlClient.Refusal {
                throw Failure(.noDaemon, "\(refusal)")
            } catch {
                let why = try Failure.unanswered(error, instance).description
                guard
                    let (status, problem) = try Director.storedStatus(
                        instance: instance, dataPlanes: XDPDataPlanes())
                else {
                    throw Failure(.noDaemon, "\(why); there is no data plane")
                }
                try show(status)
                throw Failure(
                    .noDaemon,
                    "\(why); this is what the data plane says by itself"
                        + (problem.map { ", without drains: \($0)" } ?? ""))
            }
        }
    }

    private func show(_ status: DirectorStatus) throws {
        if json {
            print(String(decoding: try status.json(), as: UTF8.self))
        } else {
            print(StatusTable.text(status))
        }
    }
}
