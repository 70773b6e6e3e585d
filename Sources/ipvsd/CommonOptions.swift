import ArgumentParser
import HostState
import Logging
import ServiceConfiguration

/// The options of almost every command.
struct CommonOptions: ParsableArguments {
    @Option(
        name: .customLong("instance"),
        help: ArgumentHelp(
            "A name for the director's state in /run and bpffs. Default: each network namespace has its own.",
            valueName: "name"))
    var instanceName: String?

    @Flag(name: [.short, .long], help: "Say more in the log.")
    var verbose = false

    func instance() throws -> InstancePaths {
        if let instanceName, !InstancePaths.isValid(name: instanceName) {
            throw Failure(
                .badValue,
                "--instance \(instanceName): no instance name (accepted: 1 to 64 letters, digits, '.', '_' and '-')")
        }
        return InstancePaths(name: instanceName)
    }

    func logger(_ output: LogOutput = LogOutput(.text)) -> Logger { output.logger(isVerbose: verbose) }
}
