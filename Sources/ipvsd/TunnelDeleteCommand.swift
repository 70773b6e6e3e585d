import ArgumentParser
import TunnelSetup

/// `ipvsd tunnel delete`.
struct TunnelDeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Delete an IPIP tunnel; tunl0 and devices of other kinds are refused.",
        discussion: """
            With the last one that 'ipvsd tunnel add' added, the kernel module goes too, if that had loaded it and \
            nobody uses it.
            """)

    @Argument(help: "The tunnel's name.")
    var name: String?

    @Flag(help: "All tunnels that 'ipvsd tunnel add' added.")
    var all = false

    @Flag(help: "Print what would be deleted, and delete nothing.")
    var dryRun = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            try TunnelCommand.naming {
                guard all == (name == nil) else {
                    throw Failure(.badValue, "tunnel delete: accepted: the name of a tunnel, or --all")
                }
                let setup = TunnelSetup(instance: try common.instance())
                if dryRun {
                    let changes = try setup.deletions(name)
                    for change in changes { print("would delete \(change)") }
                    if changes.isEmpty { print("nothing to delete") }
                } else if let name {
                    try setup.delete(name) { print("deleted \($0)") }
                } else {
                    try deleteAll(setup)
                }
            }
        }
    }

    private func deleteAll(_ setup: TunnelSetup) throws {
        var count = 0
        let complete = try setup.deleteAll { change, error in
            count += 1
            print(error.map { "cannot delete \(change): \($0)" } ?? "deleted \(change)")
        }
        if count == 0 { print("nothing to delete") }
        if !complete { throw Failure(.kernel, "not everything could be deleted; --all tries again") }
    }
}
