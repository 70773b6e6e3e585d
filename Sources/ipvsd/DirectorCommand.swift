import ArgumentParser
import Director
import LoadBalancing
import ServiceConfiguration

/// `ipvsd` without a subcommand: the director, in the foreground.
struct DirectorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ipvsd",
        abstract: "An LVS-style IP-tunnel load balancer.",
        discussion: """
            Without a subcommand this is the director. It takes clients' packets for the VIPs, schedules each connection \
            to a real server, and sends the packets there inside IPIP (RFC 2003). The real servers, set up by \
            'ipvsd realserver-setup', answer the clients directly.

            \(examples)

            Schedulers:
            \(Scheduler.allCases.map { "  \($0.rawValue.padded(to: 6))\($0.summary)" }.joined(separator: "\n"))

            Exit codes: 64 a bad value, 69 an interface is missing or busy, 71 the kernel refuses, 75 already \
            running, 77 no privilege.
            """,
        version: Director.version,
        subcommands: Subcommands.all)

    private static var examples: String {
        let (vip, servers) = (Options.listeners.flagName, Options.servers.flagName)
        return """
              ipvsd \(vip) 10.0.0.100 \(servers) 10.0.0.11,10.0.0.12
              ipvsd \(vip) 10.0.0.100:80 \(servers) 10.0.0.11=3,10.0.0.12 \(Options.scheduler.argument(.wrr))
              ipvsd \(vip) 10.0.0.100:80 \(servers) 10.0.0.11=1:1000/800,10.0.0.12 -x 500
              ipvsd \(vip) 10.0.0.100:53/udp \(servers) 10.0.0.11,10.0.0.12 \(Options.check.flagName) ping
              ipvsd --config /etc/ipvsd/ipvsd.yaml
            """
    }

    @OptionGroup var options: DirectorOptions

    @Option(
        help: ArgumentHelp(
            """
            Read the configuration from a file in YAML instead of flags. 'ipvsd check FILE' checks it; SIGHUP and 'ipvsd \
            reload' read it again.
            """, valueName: "file"), completion: .file())
    var config: String?

    @Flag(help: "Take over from the daemon that runs, without losing a packet.")
    var replace = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting { try await direct() }
    }

    private func direct() async throws {
        let wanted = try directorConfiguration()
        let instance = try common.instance()
        let logger = common.logger()
        let daemon = try await Daemon.claim(instance, replacing: replace ? wanted : nil)
        try await daemon.run(wanted, file: config, logger: logger)
    }

    /// Makes the configuration, from the flags or from the file of --config.
    func directorConfiguration() throws -> DirectorConfiguration {
        let flags = options.flags
        do {
            guard let config else { return try flags.configuration(files: .present) }
            guard flags.names.isEmpty else {
                throw Failure(
                    .badValue,
                    "\(flags.names.joined(separator: ", ")): cannot be beside --config (accepted: --replace, --instance "
                        + "and --verbose; all else is in the file)")
            }
            return try ConfigurationFile.read(config)
        } catch let errors as ConfigurationErrors { throw Failure(.badValue, "\(errors)") }
    }
}
