import DataPlane
import Hummingbird
import LoadBalancing
import Logging
import ServiceConfiguration
import Testing

@testable import Control
@testable import Director
@testable import HostState
@testable import XDPDataPlane
@testable import ipvsd

/// Names of files, of the pinned program and of the API's resources.
struct FileNameTests {
    @Test("the files of an instance are as recorded")
    func files() throws {
        let paths = InstancePaths(name: "NAME")
        let lines = [
            paths.runDirectory, paths.stateDirectory, paths.journal, paths.realServerJournal, paths.tunnelJournal,
            paths.lock, paths.controlSocket, paths.pidFile, paths.damping, paths.overrides, paths.openEvents,
            XDPDataPlane.programPin(directory: "/sys/fs/bpf/ipvsd/NAME"),
        ]
        try Snapshot.expect(lines, in: "files.txt")
    }

    @Test("the resources of the control socket are as recorded")
    func resourcesOfControlSocket() throws {
        let director = Director(
            configuration: DirectorConfiguration(services: []), instance: InstancePaths(name: "NAME"),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, dataPlanes: XDPDataPlanes())
        let router = ControlServer.router(
            director: director, reload: { _ in .failure(ReloadRefusal(code: 64, message: "")) }, stop: { _ in })
        try Snapshot.expect(router.routes.map { "\($0.method) \($0.path)" }.sorted(), in: "control-api.txt")
    }
}
