import ArgumentParser
import TunnelSetup

/// `ipvsd tunnel`: point-to-point IPIP tunnels.
struct TunnelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tunnel",
        abstract: "Add, show and delete point-to-point IPIP tunnels.",
        discussion: """
            For networks joined beside the balancer, by the kernel's ipip. Director and real servers need no such tunnel.

              ipvsd tunnel add site-b --local 192.0.2.1 --remote 198.51.100.1 --address 10.255.0.1 --peer 10.255.0.2
              ipvsd tunnel show
              ipvsd tunnel delete site-b

            Exit codes: 64 a bad value, or a device that is not to be deleted, 69 no such tunnel, or the name is taken, 71 \
            the kernel refuses, 75 another one is at work, 77 no privilege.
            """,
        subcommands: [TunnelAddCommand.self, TunnelShowCommand.self, TunnelDeleteCommand.self])

    /// Runs `body`, and gives the errors of tunnels their exit codes.
    static func naming<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let error as TunnelError {
            let code: Failure.Code =
                switch error {
                case .missingPrivilege: .noPrivilege
                case .notFound, .taken: .interface
                case .refused: .badValue
                case .kernel: .kernel
                case .busy: .alreadyRunning
                }
            throw Failure(code, "\(error)")
        }
    }
}
