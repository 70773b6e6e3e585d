import ArgumentParser
import BPF

@main
struct IPVSDBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ipvsd-bench", abstract: "Measures ipvsd's packet program and tables.",
        discussion: """
            Without a subcommand everything below, in one table. Instructions a packet, beside kernel IPVS in the same \
            guest, are counted by Tests/KernelLab/instructions.sh, which runs `ipvsd-bench frames` under QEMU with a \
            clock of executed instructions.
            """,
        subcommands: [
            AllCommand.self, PacketsCommand.self, FramesCommand.self, ScaleCommand.self, MaglevCommand.self,
            FloodCommand.self, FailoverCommand.self, ChecksCommand.self, ServeCommand.self,
        ],
        defaultSubcommand: AllCommand.self)
}
