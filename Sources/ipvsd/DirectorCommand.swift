import ArgumentParser
import LoadBalancing
import ServiceConfiguration

/// `ipvsd director`, or `ipvsd` without a subcommand: the director, in the foreground.
struct DirectorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "director",
        abstract: "Run the director, as 'ipvsd' without a subcommand.",
        discussion: """
            The director takes clients' packets for the VIPs, schedules each connection to a real server, and sends the \
            packets there inside IPIP (RFC 2003). The word 'director' may be left out.

            \(examples)

            Schedulers:
            \(Scheduler.allCases.map { "  \($0.rawValue.padded(to: 6))\($0.summary)" }.joined(separator: "\n"))

            Exit codes: 64 a bad value, 69 an interface is missing or busy, 71 the kernel refuses, 75 already \
            running, 77 no privilege.
            """)

    private static var examples: String {
        let (vip, servers) = (Options.listeners.flagName, Options.servers.flagName)
        let limit = Options.upperThreshold.shortFlagName
        return """
              ipvsd \(vip) 10.0.0.100 \(servers) 10.0.0.11,10.0.0.12
              ipvsd \(vip) 10.0.0.100:80 \(servers) 10.0.0.11=3,10.0.0.12 \(Options.scheduler.argument(.wrr))
              ipvsd \(vip) 10.0.0.100:80 \(servers) 10.0.0.11=1:1000/800,10.0.0.12 \(limit) 500
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
        let log = LogOutput(wanted.logFormat)
        let logger = common.logger(log)
        do {
            let daemon = try await Daemon.claim(instance, replacing: replace ? wanted : nil)
            try await daemon.run(wanted, file: config, log: log, logger: logger)
        } catch {
            // A reader of a JSON log gets the final error in JSON, too.
            guard log.format == .json, let failure = Failure(describing: error) else { throw error }
            throw failure.log(to: logger)
        }
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

// MARK: Flags

/// The director's declared flags, in the groups of `--help`.
struct DirectorOptions: ParsableArguments {
    @OptionGroup(title: OptionTopic.services.rawValue) var services: ServiceFlags
    @OptionGroup(title: OptionTopic.scheduling.rawValue) var scheduling: SchedulingFlags
    @OptionGroup(title: OptionTopic.checks.rawValue) var checks: CheckFlags
    @OptionGroup(title: OptionTopic.recovery.rawValue) var recovery: RecoveryFlags
    @OptionGroup(title: OptionTopic.network.rawValue) var network: NetworkFlags
    @OptionGroup(title: OptionTopic.connections.rawValue) var connections: ConnectionFlags
    @OptionGroup(title: OptionTopic.events.rawValue) var events: EventFlags

    var flags: DirectorFlags { DirectorFlags(givenOptions()) }
}

struct ServiceFlags: ParsableArguments {
    @Option(each: Options.listeners) var vip
    @Option(each: Options.servers) var backends
    @Flag(Options.oneService) var oneService
    @Option(Options.upperThreshold) var uThreshold
    @Option(Options.lowerThreshold) var lThreshold
}

struct SchedulingFlags: ParsableArguments {
    @Option(Options.scheduler) var scheduler
    @Option(each: Options.schedulerFlags) var schedFlags
    @Option(Options.maglevSize) var maglevSize
    @Option(Options.persistent) var persistent
    @Option(Options.persistentNetmask) var persistentNetmask
    @Flag(Options.onePacket) var onePacket
}

struct CheckFlags: ParsableArguments {
    @Option(Options.check) var check
    @Option(Options.checkInterval) var checkInterval
    @Option(Options.checkFastInterval) var checkFastInterval
    @Option(Options.checkTimeout) var checkTimeout
    @Option(Options.rise) var rise
    @Option(Options.fall) var fall
    @Flag(Options.synWatch) var noSynWatch
}

struct RecoveryFlags: ParsableArguments {
    @Option(Options.onServerLoss) var onServerLoss
    @Option(Options.onServerRemoval) var onServerRemoval
    @Flag(Options.inhibit) var inhibit
    @Option(Options.slowStart) var slowStart
    @Option(Options.flapDamping) var flapDamping
    @Option(Options.quorum) var quorum
    @Option(Options.sorryServer) var sorryServer
}

struct NetworkFlags: ParsableArguments {
    @Option(each: Options.interfaces) var interface
    @Option(Options.xdp) var xdp
    @Flag(Options.addresses) var noAddress
    @Option(Options.outerSources) var outerSourcePrefix
}

struct ConnectionFlags: ParsableArguments {
    @Option(Options.connections) var connections
    @Option(Options.tcpTimeout) var tcpTimeout
    @Option(Options.tcpFinTimeout) var tcpFinTimeout
    @Option(Options.udpTimeout) var udpTimeout
    @Option(Options.halfOpenLimit) var halfOpenLimit
}

struct EventFlags: ParsableArguments {
    @Option(Options.notify) var notify
    @Flag(Options.notifyAtStart) var notifyAtStart
    @Option(Options.metricsListen) var metricsListen
    @Option(Options.logFormat) var logFormat
}

// MARK: ArgumentParser's property wrappers of the declarations in `Options`

extension Option {
    /// An option with one value. A bad value is kept, so that all bad values are reported together.
    init<Parsed>(_ option: DirectorOption<Parsed>) where Value == Given<Parsed>? {
        self.init(
            wrappedValue: nil, name: .declared(option), help: .declared(option), transform: { Given(option, $0) })
    }

    /// An option that repeats.
    init<Parsed>(each option: DirectorOption<Parsed>) where Value == [Given<Parsed>] {
        self.init(
            wrappedValue: [], name: .declared(option), help: .declared(option), transform: { Given(option, $0) })
    }
}

extension Flag where Value == Bool {
    /// A flag without a value. The property's name has to be the flag's name in camel case.
    init(_ option: DirectorOption<Bool>) {
        self.init(wrappedValue: false, name: .declared(option), help: .declared(option))
    }
}

extension NameSpecification {
    static func declared(_ option: any DeclaredOption) -> NameSpecification {
        guard let flag = option.flag else { preconditionFailure("an option without a flag") }
        let short = flag.short.map { [NameSpecification.Element.customShort($0)] } ?? []
        return NameSpecification(short + [.customLong(flag.name)])
    }
}

extension ArgumentHelp {
    fileprivate static func declared(_ option: any DeclaredOption) -> ArgumentHelp {
        ArgumentHelp(option.flagHelp, valueName: option.flag?.valueName)
    }
}

// MARK: Given options

extension ParsableArguments {
    /// Returns the declared options that are on the command line, those of option groups included.
    func givenOptions() -> [any GivenOption] {
        Mirror(reflecting: self).children.flatMap { child -> [any GivenOption] in
            switch child.value {
            case let option as any GivenHolder: option.given
            case let flag as Flag<Bool>: given(flag, label: child.label ?? "")
            case let group as any GroupHolder: group.arguments.givenOptions()
            default: []
            }
        }
    }

    /// Returns the flag if it is on the command line, else an empty list. In both cases, a property without a flag of
    /// its name traps.
    private func given(_ flag: Flag<Bool>, label: String) -> [any GivenOption] {
        let name = label.dropFirst().map { $0.isUppercase ? "-\($0.lowercased())" : "\($0)" }.joined()
        let presence = GivenPresence(flag: name)
        return flag.wrappedValue ? [presence] : []
    }
}

private protocol GivenHolder {
    var given: [any GivenOption] { get }
}

extension Option: GivenHolder {
    fileprivate var given: [any GivenOption] {
        switch wrappedValue {
        case let one as any GivenOption: [one]
        case let several as [any GivenOption]: several
        default: []
        }
    }
}

private protocol GroupHolder {
    var arguments: any ParsableArguments { get }
}

extension OptionGroup: GroupHolder {
    fileprivate var arguments: any ParsableArguments { wrappedValue }
}
